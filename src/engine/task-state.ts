// The task's own row: how far each input was read, what was sent and relayed, and the partition's time. Written with every
// commit, so that positions and state can't disagree.
//
// 1. `input` is the next event position to read; everything before it is in the rows of the same commit.
// 2. Marks and seqs only grow; `relayed` and `acked` may lag behind the truth (repeats are dropped by receivers), never lead it.
import { Reader, type Writer } from '../core/bytes.ts'
import { TributaryError } from '../core/errors.ts'
import { NEVER_TURNED, type Turning } from './generations.ts'
import type { OutboxStream } from './outbox.ts'

export interface TaskState {
  claim: number
  n: number
  /** The partition's time, ms; never goes back. */
  now: number
  input: number
  /** All timers due at or before this instant have fired. */
  firedThrough: number
  /** Definitions version that control records have activated. */
  activeVersion: number
  /** Version up to which every profile of the partition is filled. */
  sweptVersion: number
  /** The sweep under way: towards which version, and the last profile key done. */
  sweepTarget: number
  sweepCursor: string
  /** Per origin partition: the last exchange message taken. */
  marks: number[]
  /** Per target partition: the last exchange seq given out, and the last known to be durable there. */
  sent: number[]
  acked: number[]
  /** Per stream: the last seq given out, and the last known to be in the stream's log. */
  seqs: Record<OutboxStream, number>
  relayed: Record<OutboxStream, number>
  /** Born roots. */
  profiles: number
  /** Newest dedupe generation, and when the next ones begin. */
  generation: number
  turning: Turning
  /** Events applied and events dropped as repeats, since ever. */
  applied: number
  repeated: number
}

export function emptyTaskState(partitions: number): TaskState {
  const zeros = (): number[] => new Array(partitions).fill(0)
  return {
    claim: 0,
    n: 0,
    now: 0,
    input: 0,
    firedThrough: -1,
    activeVersion: 0,
    sweptVersion: 0,
    sweepTarget: 0,
    sweepCursor: '',
    marks: zeros(),
    sent: zeros(),
    acked: zeros(),
    seqs: { transitions: 0, merges: 0, deadLetters: 0, profiles: 0 },
    relayed: { transitions: 0, merges: 0, deadLetters: 0, profiles: 0 },
    profiles: 0,
    generation: 0,
    turning: NEVER_TURNED,
    applied: 0,
    repeated: 0,
  }
}

/** A copy to go back to when a batch fails. */
export function copyTaskState(s: TaskState): TaskState {
  return { ...s, marks: [...s.marks], sent: [...s.sent], acked: [...s.acked], seqs: { ...s.seqs }, relayed: { ...s.relayed } }
}

/** Written by earlier versions: without `turning`, and 1 without the stream of profiles too. */
const VERSION_WITHOUT_PROFILES = 1
const VERSION_WITHOUT_TURNING = 2
const VERSION = 3

export function encodeTaskState(s: TaskState, w: Writer): Buffer {
  w.reset()
    .u8(VERSION)
    .varint(s.claim)
    .varint(s.n)
    .varint(s.now)
    .varint(s.input)
    .varint(s.firedThrough + 1)
  w.varint(s.activeVersion).varint(s.sweptVersion).varint(s.sweepTarget).text(Buffer.from(s.sweepCursor, 'latin1').toString('base64'))
  w.varint(s.profiles).varint(s.generation).varint(s.applied).varint(s.repeated)
  for (const list of [s.marks, s.sent, s.acked]) for (const x of list) w.varint(x)
  for (const r of [s.seqs, s.relayed]) w.varint(r.transitions).varint(r.merges).varint(r.deadLetters)
  w.varint(s.seqs.profiles).varint(s.relayed.profiles)
  w.varint(s.turning.windowMs).varint(s.turning.number).varint(s.turning.at)
  return w.take()
}

export function decodeTaskState(row: Buffer, partitions: number): TaskState {
  const r = new Reader(row)
  const version = r.u8()
  if (version < VERSION_WITHOUT_PROFILES || version > VERSION)
    throw new TributaryError('data_corrupt', `task row of unknown version ${version}`)
  const s = emptyTaskState(partitions)
  s.claim = r.varint()
  s.n = r.varint()
  s.now = r.varint()
  s.input = r.varint()
  s.firedThrough = r.varint() - 1
  s.activeVersion = r.varint()
  s.sweptVersion = r.varint()
  s.sweepTarget = r.varint()
  s.sweepCursor = Buffer.from(r.text(), 'base64').toString('latin1')
  s.profiles = r.varint()
  s.generation = r.varint()
  s.applied = r.varint()
  s.repeated = r.varint()
  for (const list of [s.marks, s.sent, s.acked]) for (let i = 0; i < partitions; i++) list[i] = r.varint()
  for (const x of [s.seqs, s.relayed]) {
    x.transitions = r.varint()
    x.merges = r.varint()
    x.deadLetters = r.varint()
  }
  if (version >= VERSION_WITHOUT_TURNING) {
    s.seqs.profiles = r.varint()
    s.relayed.profiles = r.varint()
  }
  if (version === VERSION) s.turning = { windowMs: r.varint(), number: r.varint(), at: r.varint() }
  return s
}
