// What errors of the client and of the brokers mean for us. Owns the translation into codes of the registry and the question whether
// trying again can help; knows the client's errors by their names and types alone.
import { TributaryError } from '../core/errors.ts'

/** What is known of any error of the client. */
interface Told {
  readonly name: string
  readonly message: string
  /** The protocol's name of an error that a broker answered, or a code of Node.js. */
  readonly type: string
  readonly code: string
}

/** Where the client puts what lies behind an error. */
interface ClientError {
  readonly type?: unknown
  readonly code?: unknown
  readonly originalError?: unknown
  readonly errors?: readonly unknown[]
  /** Of a deletion: what each partition answered. */
  readonly partitions?: readonly { readonly error?: unknown }[]
}

const LOGIN = ['KafkaJSSASLAuthenticationError', 'SASL_AUTHENTICATION_FAILED', 'UNSUPPORTED_SASL_MECHANISM', 'ILLEGAL_SASL_STATE']
const NETWORK = [
  'KafkaJSConnectionError',
  'KafkaJSConnectionClosedError',
  'KafkaJSRequestTimeoutError',
  'KafkaJSNoBrokerAvailableError',
  'KafkaJSBrokerNotFound',
  'KafkaJSLockTimeout',
]
/** What the client gives up by itself, without a broker's answer in it, although a cluster that starts or changes gets over it. */
const UNSETTLED = ['KafkaJSMetadataNotLoaded', 'KafkaJSTopicMetadataNotLoaded', 'KafkaJSGroupCoordinatorNotFound']
/** What the client throws, as an error without a name of its own, where a broker was lost while it was about to be asked. */
const UNCONNECTED = 'Broker not connected'
const TLS_CODE = /CERT|SIGNATURE|SSL|EPROTO|ALTNAME/
const TLS_TEXT = /TLS|SSL|certificate|self-signed/i

/** Anything that was thrown as an error of the registry; `doing` says in words what was tried. */
export function kafkaError(error: unknown, doing: string): TributaryError {
  if (error instanceof TributaryError) return error
  const told = [...chain(error)]
  const has = (names: readonly string[]) => told.find((t) => names.includes(t.name) || names.includes(t.type))
  const login = has(LOGIN)
  const forbidden = told.find((t) => t.type.endsWith('_AUTHORIZATION_FAILED'))
  const missing = has(['UNKNOWN_TOPIC_OR_PARTITION', 'INVALID_TOPIC_EXCEPTION'])
  const tls = told.find((t) => TLS_CODE.test(t.code) || (t.name.startsWith('KafkaJSConnection') && TLS_TEXT.test(t.message)))
  const network = told.find(isNetwork)
  const because = (t: Told): string => `${doing}: ${t.message}`
  if (forbidden) return new TributaryError('kafka_forbidden', `${because(forbidden)} (${forbidden.type})`, { cause: error })
  if (login) return new TributaryError('kafka_login', because(login), { cause: error })
  if (tls) return new TributaryError('kafka_tls', because(tls), { cause: error })
  if (missing) return new TributaryError('kafka_topic', because(missing), { cause: error })
  if (network) return new TributaryError('kafka_unreachable', because(network), { cause: error })
  const [first] = told
  return new TributaryError('kafka_failed', first ? `${because(first)} (${first.type || first.name})` : doing, { cause: error })
}

/** The protocol's name of what a broker answered, or an empty text. */
export function protocolType(error: unknown): string {
  for (const { name, type } of chain(error)) if (name.startsWith('KafkaJS') && type !== '') return type
  return ''
}

/** True when the same request may succeed later without anybody's doing. */
export function mayPass(error: unknown): boolean {
  const told = [...chain(error)]
  if (told.some((t) => LOGIN.includes(t.name) || LOGIN.includes(t.type) || t.type.endsWith('_AUTHORIZATION_FAILED'))) return false
  const type = told.find((t) => t.type !== '')?.type
  if (type !== undefined) return PASSING.has(type)
  return told.some((t) => isNetwork(t) || UNSETTLED.includes(t.name))
}

const isNetwork = ({ name, message }: Told): boolean => NETWORK.includes(name) || (name === 'Error' && message === UNCONNECTED)

/** Answers of brokers that move on by themselves: elections, starts, shortages. */
const PASSING = new Set([
  'UNKNOWN_TOPIC_OR_PARTITION',
  'LEADER_NOT_AVAILABLE',
  'NOT_LEADER_FOR_PARTITION',
  'NOT_LEADER_OR_FOLLOWER',
  'REQUEST_TIMED_OUT',
  'BROKER_NOT_AVAILABLE',
  'REPLICA_NOT_AVAILABLE',
  'NETWORK_EXCEPTION',
  'NOT_ENOUGH_REPLICAS',
  'NOT_ENOUGH_REPLICAS_AFTER_APPEND',
  'KAFKA_STORAGE_ERROR',
  'FENCED_LEADER_EPOCH',
  'UNKNOWN_LEADER_EPOCH',
  'OFFSET_NOT_AVAILABLE',
  'COORDINATOR_LOAD_IN_PROGRESS',
  'GROUP_LOAD_IN_PROGRESS',
  'GROUP_COORDINATOR_NOT_AVAILABLE',
  'NOT_COORDINATOR_FOR_GROUP',
  'NOT_CONTROLLER',
  'UNKNOWN',
])

/** An error and what caused it, outermost first; a chain is short. */
function* chain(error: unknown): Generator<Told> {
  let at: unknown = error
  for (let depth = 0; depth < 8 && at instanceof Error; depth++) {
    const { type, code, cause, originalError, errors, partitions } = at as Error & ClientError
    yield { name: at.name, message: at.message, type: text(type), code: text(code) }
    at = cause ?? originalError ?? errors?.[0] ?? partitions?.[0]?.error
  }
}

const text = (x: unknown): string => (typeof x === 'string' ? x : '')
