// The tape: what the production executor did to which profile, in its order, as far as the journal made it count. The oracle is given
// this order (and the instants) and nothing else, so every transition of any interleaving can be foretold. Owns the taps into Executor and Task.
//
// 1. An operation counts when the commit that carries it counts; those of a batch that failed, or of a life that ended, never do.
// 2. The taps change nothing, with one exception: an event whose message id begins with POISON throws once it is executed.
import { must } from '../../src/core/assert.ts'
import type { EventRecord } from '../../src/core/event.ts'
import { homeOf, type ProfileKey } from '../../src/core/identifier.ts'
import { Executor, type Input } from '../../src/engine/execute.ts'
import { Profile } from '../../src/engine/profile.ts'
import { Task } from '../../src/engine/task.ts'
import type { CarriedEvent, CauseRef } from '../../src/identity/messages.ts'
import { Root } from '../../src/identity/root.ts'

export const POISON = 'poison'

interface AnyOp {
  readonly key: ProfileKey
  /** The profile's time. */
  readonly now: number
  /** The definitions that it is filled for from then on; undefined while unborn. */
  readonly version: number | undefined
}

export type Op = AnyOp &
  (
    | { readonly kind: 'born'; readonly first: EventRecord }
    | { readonly kind: 'event'; readonly record: EventRecord; readonly causeId: string }
    /** A timer fired, or it was filled. */
    | { readonly kind: 'touch' }
    | { readonly kind: 'leave' }
    | {
        readonly kind: 'absorb'
        readonly from: ProfileKey
        readonly causeId: string
        readonly isBorn: { readonly into: boolean; readonly from: boolean }
        /** Events in the timeline afterwards. */
        readonly timelineCount: number
      }
  )

interface Taken {
  readonly op: Op
  readonly executor: Executor
  readonly partition: number
  readonly claim: number
  readonly n: number
}

/** What the taps tell the world. */
export interface Tapped {
  /** A task begins to run. */
  started?(task: Task): void
  changed(root: Root): void
  forwarded(from: ProfileKey, to: ProfileKey): void
}

export class Tape {
  readonly tapped: Tapped
  #taken: Taken[] = []
  /** Of every process that lives, those that are being closed too. */
  #tasks: Task[] = []
  /** Several processes have tasks of one partition: each root is looked for in the memory of its own (2). */
  readonly #taskOf = new WeakMap<Executor, Task>()

  constructor(tapped: Tapped) {
    this.tapped = tapped
  }

  started(task: Task): void {
    this.#tasks.push(task)
    this.tapped.started?.(task)
  }

  take(executor: Executor, root: Root, op: (p: Profile) => Op): void {
    const { task, profile } = this.#profileOf(executor, root)
    const { claim, n } = task.state
    this.#taken.push({ op: op(profile), executor, partition: task.partition, claim, n: n + 1 })
  }

  #profileOf(executor: Executor, root: Root): { task: Task; profile: Profile } {
    const own = this.#taskOf.get(executor)
    for (const task of own ? [own] : this.#tasks) {
      if (homeOf(root.key, task.limits.partitions) !== task.partition) continue
      const profile = task.memory.row(root.key)
      if (!(profile instanceof Profile && profile.root === root)) continue
      this.#taskOf.set(executor, task)
      return { task, profile }
    }
    throw new Error('a root that is worked on is in the memory of a living task')
  }

  /** The operations of a commit that counts (1), in order. */
  committed(partition: number, claim: number, n: number): Op[] {
    const isOf = (t: Taken): boolean => t.partition === partition && t.claim === claim && t.n === n
    const ops = this.#taken.filter(isOf).map((t) => t.op)
    this.#taken = this.#taken.filter((t) => !isOf(t))
    return ops
  }

  /** An executor starts over: what it did and didn't commit is void. */
  startedOver(executor: Executor): void {
    this.#taken = this.#taken.filter((t) => t.executor !== executor)
  }

  /** The process has died. */
  died(): void {
    this.#taken = []
    this.#tasks = []
  }
}

let tape: Tape | undefined

/** From now on the taps tell this tape. */
export function record(next: Tape | undefined): void {
  tape = next
}

const untapped = { ...methodsOf(Executor.prototype) }

function methodsOf(
  executor: Executor,
): Pick<Executor, 'apply' | 'born' | 'takeState' | 'absorb' | 'execute' | 'becameForward' | 'touch' | 'begin'> {
  const { apply, born, takeState, absorb, execute, becameForward, touch, begin } = executor
  return { apply, born, takeState, absorb, execute, becameForward, touch, begin }
}

const { start } = Task.prototype

Task.prototype.start = function (this: Task): void {
  tape?.started(this)
  start.call(this)
}

Executor.prototype.apply = function (this: Executor, root: Root, event: CarriedEvent, cause: CauseRef): void {
  untapped.apply.call(this, root, event, cause)
  const { record } = event
  tape?.take(this, root, (p) => ({
    kind: 'event',
    key: p.key,
    now: p.asOf,
    version: p.segments?.version,
    record,
    causeId: cause.messageId,
  }))
}

Executor.prototype.born = function (this: Executor, root: Root, first: CarriedEvent): void {
  untapped.born.call(this, root, first)
  tape?.take(this, root, (p) => ({ kind: 'born', key: p.key, now: this.apply_.nowFor(p), version: undefined, first: first.record }))
}

Executor.prototype.takeState = function (this: Executor, root: Root): Buffer {
  const state = untapped.takeState.call(this, root)
  tape?.take(this, root, (p) => ({ kind: 'leave', key: p.key, now: p.asOf, version: p.segments?.version }))
  return state
}

Executor.prototype.absorb = function (this: Executor, root: Root, from: Parameters<Executor['absorb']>[1], cause: CauseRef): void {
  const isBorn = { into: root.isBorn, from: from.publicId !== undefined }
  untapped.absorb.call(this, root, from, cause)
  tape?.take(this, root, (p) => ({
    kind: 'absorb',
    key: p.key,
    now: this.apply_.nowFor(p),
    version: p.segments?.version,
    from: from.from,
    causeId: cause.messageId,
    isBorn,
    timelineCount: p.timelineCount,
  }))
} as Executor['absorb']

Executor.prototype.execute = function (this: Executor, input: Input): ReturnType<Executor['execute']> {
  const wanted = untapped.execute.call(this, input)
  if (wanted || !tape) return wanted
  if (input.kind === 'event' && input.event.record.messageId.startsWith(POISON)) throw new Error('the event is poisoned')
  if (input.kind === 'timer' || input.kind === 'fill') {
    const root = this.root(input.key)
    if (root instanceof Root && root.isBorn)
      tape.take(this, root, (p) => ({
        kind: 'touch',
        key: p.key,
        now: this.apply_.nowFor(p),
        version: must(p.segments, 'it is born').version,
      }))
  }
  return undefined
}

Executor.prototype.becameForward = function (this: Executor, root: Root, to: ProfileKey): void {
  tape?.tapped.forwarded(root.key, to)
  untapped.becameForward.call(this, root, to)
}

Executor.prototype.touch = function (this: Executor, root: Root): void {
  untapped.touch.call(this, root)
  tape?.tapped.changed(root)
}

Executor.prototype.begin = function (this: Executor, underWay: Parameters<Executor['begin']>[0]): void {
  tape?.startedOver(this)
  untapped.begin.call(this, underWay)
}
