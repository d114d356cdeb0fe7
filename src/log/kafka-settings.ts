// How to reach a Kafka cluster, as an operator writes it, checked before the first connection. Owns the shape and its rules;
// connects to nothing.
//
// 1. A password never goes in clear beyond this machine.
import { isIP } from 'node:net'
import { TributaryError } from '../core/errors.ts'

export const MECHANISMS = ['plain', 'scram-sha-256', 'scram-sha-512'] as const
export type Mechanism = (typeof MECHANISMS)[number]

export interface KafkaSettings {
  /** `host:port` of some brokers; the others are learnt from them. */
  readonly brokers: readonly string[]
  /** Topics and the group begin with it. */
  readonly prefix: string
  readonly tls?: KafkaTls
  readonly sasl?: { readonly mechanism: Mechanism; readonly username: string; readonly password: string }
}

export interface KafkaTls {
  /** PEM text of the authorities to trust; absent: those that Node.js trusts. */
  readonly authority?: string
  /** PEM texts for mutual TLS. */
  readonly certificate?: string
  readonly key?: string
}

/** A topic may have 249 characters of these; the longest suffix takes a few. */
const PREFIX = /^[A-Za-z0-9._-]{1,200}$/
const BROKER = /^(\[[0-9a-fA-F:]+\]|[^\s:/[\]]+):(\d{1,5})$/
const PEM = /^\s*-----BEGIN [A-Z ]+-----/
const MAX_PORT = 65535

/** Throws invalid_config that names the first setting which can't be right. */
export function checkKafkaSettings(settings: KafkaSettings): void {
  const { brokers, prefix, tls, sasl } = settings
  if (brokers.length === 0) throw wrong('brokers', 'names no broker')
  for (const broker of brokers) if (!isAddress(broker)) throw wrong('brokers', `"${broker}" is not host:port`)
  if (!PREFIX.test(prefix)) throw wrong('prefix', `"${prefix}" is not 1 to 200 letters, digits, dots, underscores or hyphens`)
  for (const name of ['authority', 'certificate', 'key'] as const) {
    const text = tls?.[name]
    if (text !== undefined && !PEM.test(text)) throw wrong(`tls.${name}`, 'is not PEM text (-----BEGIN …)')
  }
  if ((tls?.certificate === undefined) !== (tls?.key === undefined)) throw wrong('tls', 'certificate and key come together')
  if (!sasl) return
  if (!MECHANISMS.includes(sasl.mechanism)) throw wrong('sasl.mechanism', `"${sasl.mechanism}" is none of ${MECHANISMS.join(', ')}`)
  if (sasl.username === '' || sasl.password === '') throw wrong('sasl', 'username and password are not empty')
  if (sasl.mechanism === 'plain' && !tls && !brokers.every(isHere))
    throw wrong('sasl', 'mechanism plain without tls would send the password in clear (1)')
}

function isAddress(broker: string): boolean {
  const port = Number(BROKER.exec(broker)?.[2] ?? 0)
  return port >= 1 && port <= MAX_PORT
}

function isHere(broker: string): boolean {
  const host = (BROKER.exec(broker)?.[1] ?? '').replace(/^\[(.*)\]$/, '$1')
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
}

const wrong = (setting: string, why: string): TributaryError => new TributaryError('invalid_config', `kafka.${setting} ${why}.`)
