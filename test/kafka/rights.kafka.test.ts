// The rights that docs/kafka.md lists, on a guarded cluster: with them everything works, and without any of them something doesn't.
import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import kafkajs from 'kafkajs'
import { afterEach, beforeEach, expect, inject, test } from 'vitest'
import { withAdmin } from '../../src/log/kafka-client.ts'
import { KafkaLog } from '../../src/log/kafka-log.ts'
import type { KafkaSettings } from '../../src/log/kafka-settings.ts'
import { ensureTopics, TOPICS, type TopicKind } from '../../src/log/kafka-topics.ts'
import { pause, ServerProcess } from '../process/server.ts'
import { clock, DAY_MS } from './world.ts'

const { AclOperationTypes, AclPermissionTypes, AclResourceTypes, ResourcePatternTypes } = kafkajs
const guarded = inject('guarded')
const PARTITIONS = 2
/** What doesn't work within so long, doesn't. */
const PATIENCE_MS = 45_000
const FORBIDDEN = /AUTHORIZATION_FAILED/
const ASK_MS = 100
const GRANT_MS = 2000

type Operation = 'read' | 'write' | 'describeConfigs' | 'create' | 'delete'
interface Right {
  readonly on: TopicKind | 'members'
  readonly operation: Operation
}

const OPERATIONS = {
  read: AclOperationTypes.READ,
  write: AclOperationTypes.WRITE,
  describeConfigs: AclOperationTypes.DESCRIBE_CONFIGS,
  create: AclOperationTypes.CREATE,
  delete: AclOperationTypes.DELETE,
}
const READ_BACK: readonly TopicKind[] = ['events', 'exchange', 'journal', 'definitions', 'transitions', 'merges', 'dead-letters']

/** As the table in docs/kafka.md. */
const RIGHTS: readonly Right[] = [
  ...TOPICS.map((on): Right => ({ on, operation: 'describeConfigs' })),
  ...TOPICS.map((on): Right => ({ on, operation: 'write' })),
  ...READ_BACK.map((on): Right => ({ on, operation: 'read' })),
  { on: 'members', operation: 'read' },
]

const login = (account: typeof guarded.admin): NonNullable<KafkaSettings['sasl']> => ({ mechanism: 'plain', ...account })

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'tributary-rights-'))
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

async function grant(settings: KafkaSettings, rights: readonly Right[]): Promise<void> {
  const acl = rights.map(({ on, operation }) => ({
    resourceType: on === 'members' ? AclResourceTypes.GROUP : AclResourceTypes.TOPIC,
    resourceName: `${settings.prefix}.${on}`,
    resourcePatternType: ResourcePatternTypes.LITERAL,
    principal: `User:${guarded.granted.username}`,
    host: '*',
    operation: OPERATIONS[operation],
    permissionType: AclPermissionTypes.ALLOW,
  }))
  await withAdmin(settings, clock, async (admin) => void (await admin.createAcls({ acl })))
}

/** Undefined when a request is answered with success in time; who is told `why` asks no more. */
async function failure(
  url: string,
  init: RequestInit,
  { signal, why }: { signal: AbortSignal; why: RegExp | undefined },
): Promise<string | undefined> {
  for (let last = 'no answer'; ; ) {
    const reply = await fetch(url, { ...init, signal }).catch(() => undefined)
    if (reply?.ok) return undefined
    if (reply) last = `${reply.status} ${await reply.text().catch(() => '')}`
    if (signal.aborted || why?.test(last)) return last
    await pause(ASK_MS)
  }
}

const json = (method: string, body: object): RequestInit => ({
  method,
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify(body),
})

/** A server does what servers do; tells what did not work, or undefined. */
async function work({ url }: ServerProcess, why: RegExp | undefined): Promise<string | undefined> {
  const until = { signal: AbortSignal.timeout(PATIENCE_MS), why }
  const batch = Array.from({ length: 8 }, (_, k) => [
    { type: 'track', event: 'Order', anonymousId: `a${k}`, messageId: `t${k}` },
    { type: 'identify', userId: `u${k >> 1}`, anonymousId: `a${k}`, messageId: `i${k}` },
  ]).flat()
  const bad = { type: 'track', event: 'Order', messageId: 'nobody' }
  const steps: [path: string, init: RequestInit][] = [
    ['segments/buyers', json('PUT', { where: { event: 'Order' } })],
    ['batch', json('POST', { batch: [...batch, bad] })],
    ['admin/settle', { method: 'POST' }],
    ['transitions', {}],
    ['merges', {}],
    ['dead-letters', {}],
  ]
  for (const [path, init] of steps) {
    const failed = await failure(`${url}/v1/${path}`, init, until)
    if (failed !== undefined) return `${path}: ${failed}`
  }
  return undefined
}

/** A prefix of its own, for whoever may do everything. */
const root = (): KafkaSettings => ({ brokers: [guarded.sasl], prefix: `test-${randomUUID()}`, sasl: login(guarded.admin) })

const made = (settings: KafkaSettings): Promise<void> =>
  ensureTopics({ settings, clock, kinds: TOPICS, partitions: PARTITIONS, outputsRetainMs: DAY_MS })

/** Resolves once a server says why something doesn't work. */
async function says(server: ServerProcess, why: RegExp, signal: AbortSignal): Promise<string> {
  while (!why.test(server.err) && !signal.aborted) await pause(ASK_MS)
  return 'it says'
}

/** How a server fares with these rights: undefined when all is well, else what happens and what it says. What is to go wrong says `why`. */
async function fare(settings: KafkaSettings, rights: readonly Right[], why?: RegExp): Promise<string | undefined> {
  await grant(settings, rights)
  const kafka = JSON.stringify({ ...settings, sasl: login(guarded.granted), outputs: { profiles: true } })
  // Two hosts: what partitions say to each other goes over the exchange.
  const flags = ['--partitions', String(PARTITIONS), '--hosts', '2', '--kafka', kafka]
  const server = new ServerProcess(join(directory, settings.prefix), flags)
  const ended = server.exited.then(({ code }) => `ended with code ${code}`)
  const up = await Promise.race([server.listening().catch((error: Error) => String(error)), ended])
  if (typeof up === 'string') return `${up}: ${server.err}`
  const signal = AbortSignal.timeout(PATIENCE_MS)
  const failed = await Promise.race([work(server, why), ended, ...(why ? [says(server, why, signal)] : [])])
  await server.end('SIGKILL')
  return failed === undefined ? undefined : `${failed}: ${server.err}`
}

test('with all of them it works', { timeout: 120_000 }, async () => {
  const settings = root()
  await made(settings)
  expect(await fare(settings, RIGHTS)).toBe(undefined)
})

// Configurations are asked for in one way, whatever topic.
const each = RIGHTS.filter(({ on, operation }) => operation !== 'describeConfigs' || on === 'events')

test.each(each)(
  'without $operation on $on something does not, and a missing right is said to be why',
  { timeout: 120_000 },
  async (right) => {
    const settings = root()
    await made(settings)
    const rights = RIGHTS.filter((other) => other !== right)
    const why = right.on === 'members' ? /may the account read the group/ : FORBIDDEN
    expect(await fare(settings, rights, why)).toMatch(why)
  },
)

test('making topics takes the right to create them', { timeout: 120_000 }, async () => {
  const creating = TOPICS.map((on): Right => ({ on, operation: 'create' }))
  expect(await fare(root(), RIGHTS, FORBIDDEN)).toMatch(/^ended with code 1: kafka_forbidden/)
  expect(await fare(root(), [...RIGHTS, ...creating])).toBe(undefined)
})

test('deleting what nobody needs any more takes the right to delete', { timeout: 60_000 }, async () => {
  const settings = root()
  await made(settings)
  await grant(settings, RIGHTS)
  // Rights take a moment to be known.
  await pause(GRANT_MS)
  const log = await KafkaLog.open({
    settings: { ...settings, sasl: login(guarded.granted) },
    clock,
    kind: 'journal',
    partitions: PARTITIONS,
  })
  for (let n = 0; n < 4; n++) await log.append(0, Buffer.from(`record ${n}`))
  await expect(log.release(0, 2)).rejects.toMatchObject({ message: expect.stringContaining('AUTHORIZATION_FAILED') })
  await grant(settings, [{ on: 'journal', operation: 'delete' }])
  await pause(GRANT_MS)
  await log.release(0, 2)
  expect(await log.firsts()).toEqual([2, 0])
  await log.close()
})
