// Questions that the main thread asks a host about its partitions. Owns what is read for an answer; changes nothing.
//
// 1. What an answer shows is durable, and nobody waits for that: where memory is ahead of the last commit that counts, the rows behind it
//    are read. So a look-up takes no longer for the batches that are under way.
import { TributaryError } from '../core/errors.ts'
import type { Json, JsonObject } from '../core/event.ts'
import { homeOf, type IdentifierKey, type ProfileKey, profileKey } from '../core/identifier.ts'
import { decodeLeaf } from '../identity/codec.ts'
import { ownedOf } from './answers.ts'
import type { HostView } from './host-view.ts'
import { positionOf } from './inputs.ts'
import { leafKey, prefixRange, profileKeyOf, profileRowKey, publicKey } from './keys.ts'
import { Absent } from './memory.ts'
import { STREAMS } from './outbox.ts'
import { preview } from './preview.ts'
import { decodeProfileRow, Forward, Profile, readRowHead } from './profile.ts'
import { publicIdText } from './public-id.ts'
import type { Answer, Ends, PartitionFacts, ProfileFacts, Question } from './questions.ts'
import { readMemberships } from './segment-state.ts'
import type { Task } from './task.ts'

export async function answer(host: HostView, q: Question): Promise<Answer> {
  switch (q.kind) {
    case 'find':
      return find(host, q)
    case 'rows':
      return suffixedRows(taskOf(host, q.partition), q)
    case 'memberships':
      return memberships(taskOf(host, q.partition), q.key)
    case 'members':
      return members(taskOf(host, q.partition), q)
    case 'preview':
      return preview(host, q.where)
    case 'finished':
      await host.until(() => isFinished(host, q.ends))
      return { kind: 'done' }
    case 'isFinished':
      return clean(host, q)
    case 'settled':
      return settled(host, q.ends, q.now)
    case 'status':
      return status(host)
    case 'clock':
      throw new TypeError('the clock is a matter of the main thread')
  }
}

function taskOf(host: HostView, partition: number): Task {
  const task = host.tasks.get(partition)
  const { stopReason } = task ?? {}
  const isFenced = stopReason instanceof TributaryError && stopReason.code === 'fenced'
  if (!task || task.phase === 'opening' || isFenced)
    throw new TributaryError('partition_moving', `partition ${partition} is not open in this process`)
  if (task.phase === 'stopped') throw new TributaryError('partition_stopped', `partition ${partition} has stopped: ${stopReason?.message}`)
  return task
}

/** Forwards strictly descend, so a walk ends; a merge under way may lengthen it. */
const STEPS = 64

/** Walks from what is looked up to the root, as far as this host has the rows. */
async function find(host: HostView, { partition, by }: Question & { kind: 'find' }): Promise<Answer> {
  const task = taskOf(host, partition)
  const ahead = new Map<ProfileKey, ReadAhead>()
  let key = 'key' in by ? by.key : 'publicId' in by ? await keyOfPublicId(task, by.publicId) : await keyOfLeaf(task, by.identifier, ahead)
  for (let step = 0; key !== undefined && step < STEPS; step++) {
    const home = homeOf(key, task.limits.partitions)
    if (!host.tasks.has(home)) return { kind: 'found', elsewhere: key }
    const found = await profile(taskOf(host, home), key, ahead.get(key))
    if (found === undefined) break
    if (!('forward' in found)) return { kind: 'found', root: { key, facts: found } }
    key = found.forward
  }
  return { kind: 'found' }
}

async function keyOfPublicId(task: Task, id: string): Promise<ProfileKey | undefined> {
  const [row] = await task.rows.getMany([publicKey(id)])
  return row?.latin1Slice(0, row.length)
}

/** The value of a row, and the events position that it shows at least. */
interface ReadAhead {
  readonly value: Buffer
  readonly input: number
}

/** The key of a leaf; where the store is asked, also for the row that the identifier would have founded: most often it is the root. */
async function keyOfLeaf(task: Task, x: IdentifierKey, ahead: Map<ProfileKey, ReadAhead>): Promise<ProfileKey | undefined> {
  const known = task.memory.durableLeaf(x, task.durableN)
  if (known !== null) return known?.key
  const own = profileKey(x, 0)
  const input = task.committedInput
  const [leaf, row] = await task.rows.getMany([leafKey(x), profileRowKey(own)])
  if (row) ahead.set(own, { value: row, input })
  return leaf && decodeLeaf(leaf).key
}

/** A row as the last commit that counts has left it (1). */
async function rowOf(task: Task, key: ProfileKey, ahead?: ReadAhead): Promise<Profile | Forward | undefined> {
  const known = task.memory.durableRow(key, task.durableN)
  if (known !== undefined) return known instanceof Absent ? undefined : known
  const [value] = ahead ? [ahead.value] : await task.rows.getMany([profileRowKey(key)])
  return value && decodeProfileRow(key, value)
}

async function profile(task: Task, key: ProfileKey, ahead?: ReadAhead): Promise<ProfileFacts | { forward: ProfileKey } | undefined> {
  const input = ahead?.input ?? task.committedInput
  const row = await rowOf(task, key, ahead)
  return row instanceof Forward ? { forward: row.to } : row && profileFacts(row, `${task.partition}:${input}`)
}

function profileFacts(row: Profile, position: string): ProfileFacts | undefined {
  if (!row.segments) return undefined
  const traits: JsonObject = {}
  for (const [name, t] of row.traits)
    if (t.value !== undefined) Object.defineProperty(traits, name, { value: t.value as Json, enumerable: true })
  const segments: number[] = []
  for (const [segment, m] of row.segments.memberships) if (m.in) segments.push(segment)
  return {
    id: publicIdText(row.publicId),
    identifiers: [...row.root.ids.values()].map(({ identifier }) => ({ namespace: identifier.namespace, value: identifier.value })),
    traits,
    segments,
    createdAt: row.createdAt,
    updatedAt: row.updatedAt,
    position,
  }
}

async function suffixedRows(task: Task, q: Question & { kind: 'rows' }): Promise<Answer> {
  const prefix = `${q.what === 'timeline' ? 't' : 'u'}${q.key}`
  const range = prefixRange(prefix)
  const gte = q.after === '' ? range.gte : `${prefix}${q.after}\u0000`
  const scan = task.rows.scan({ gte, lt: range.lt })
  const page = await scan.next(q.limit + 1)
  await scan.close()
  const rows = page.slice(0, q.limit).map(([key, value]) => [key.slice(prefix.length), value] as const)
  return { kind: 'rows', rows, more: page.length > q.limit }
}

async function memberships(task: Task, key: ProfileKey): Promise<Answer> {
  const row = await rowOf(task, key)
  const list: [number, number, boolean][] = []
  if (row instanceof Profile && row.segments) for (const [segment, m] of row.segments.memberships) list.push([segment, m.seq, m.in])
  return { kind: 'memberships', memberships: list.sort((a, b) => a[0] - b[0]) }
}

const MEMBERS_PER_SCAN = 256

async function members(task: Task, q: Question & { kind: 'members' }): Promise<Answer> {
  const scan = task.rows.scan({ gte: q.after === '' ? 'p' : `${profileRowKey(q.after)}\u0000`, lt: prefixRange('p').lt })
  const found: { key: ProfileKey; id: string; userId: string }[] = []
  try {
    for (;;) {
      const page = await scan.next(MEMBERS_PER_SCAN)
      if (page.length === 0) return { kind: 'members', members: found, more: false }
      for (const [rowKey, value] of page) {
        const key = profileKeyOf(rowKey)
        const head = readRowHead(key, value)
        if (!head || !readMemberships(head.rest).get(q.segment)?.in) continue
        if (found.length === q.limit) return { kind: 'members', members: found, more: true }
        found.push({ key, id: publicIdText(head.publicId), userId: head.userId })
      }
    }
  } finally {
    await scan.close()
  }
}

/** True when this host has committed its share of `ends` and keeps nothing open that was caused before them. */
function isFinished(host: HostView, ends: Ends): boolean {
  for (const [partition, input] of ends) {
    const task = host.tasks.get(partition)
    if (task && task.committedInput < input) return false
  }
  for (const task of host.tasks.values()) {
    const { open } = task.openness()
    for (const [partition, input] of ends) {
      const first = open.get(partition)
      if (first !== undefined && first < input) return false
    }
  }
  return true
}

function clean(host: HostView, { ends, watch }: Question & { kind: 'isFinished' }): Answer {
  // Once one of them has stopped nothing gets finished: whoever waits in another process is told so.
  for (const partition of host.tasks.keys()) taskOf(host, partition)
  const of = ownedOf(host.tasks.values())
  const hosts = of.length > 0 ? 1 : 0
  return isFinished(host, ends)
    ? { kind: 'clean', clean: true, moved: host.moved(watch, ends), of, hosts }
    : { kind: 'clean', clean: false, moved: 0, of, hosts }
}

async function settled(host: HostView, ends: Ends, now: number | undefined): Promise<Answer> {
  await host.until(() => isFinished(host, ends) && (now === undefined || [...host.tasks.values()].every((t) => t.firedThrough() >= now)))
  const tasks = [...host.tasks.values()]
  const of = ownedOf(tasks)
  // The last batch may be executed and not yet committed: its outputs have no seqs before that.
  await Promise.all(tasks.map((task) => task.durable()))
  const seqs = tasks.map((task) => ({ task, seqs: { ...task.state.seqs } }))
  await host.until(() => seqs.every(({ task, seqs }) => STREAMS.every((s) => task.hasRelayed(s, seqs[s]))))
  return { kind: 'settled', of }
}

/** Computed at once, answered when durable; a partition that has stopped is told as it is. */
async function status(host: HostView): Promise<Answer> {
  const tasks = [...host.tasks.values()]
  const partitions = tasks.map((task) => facts(host, task))
  await Promise.allSettled(tasks.map((task) => task.durable()))
  return { kind: 'status', partitions }
}

function facts(host: HostView, task: Task): PartitionFacts {
  const { state } = task
  const { progress } = task.sweepProgress()
  return {
    partition: task.partition,
    phase: task.phase,
    ...(task.stopReason ? { reason: task.stopReason.message } : {}),
    claim: state.claim,
    input: task.committedInput,
    end: positionOf(host.eventsEnd(task.partition), 0),
    now: state.now,
    profiles: state.profiles,
    activeVersion: state.activeVersion,
    sweptVersion: state.sweptVersion,
    progress,
    sizes: [...task.sizes],
    metrics: {
      ...task.metrics,
      cacheBytes: task.memory.bytes,
      cachedRows: task.memory.size,
      repeated: state.repeated,
      applied: state.applied,
      pendingBytes: task.rows.pendingBytes,
      journalFirst: task.released.journal,
      eventsFirst: task.released.events,
      exchangeFirst: task.released.exchange,
      deleteFailures: task.released.failures,
    },
  }
}
