// Bugs that are planted into the production code, by replacing methods of its classes: the simulator must find each. Owns the registry;
// `plant` changes classes of this process until it is undone, so one bug is planted at a time.
import { PROFILE_KEY_BYTES } from '../../../src/core/identifier.ts'
import { Apply } from '../../../src/engine/apply.ts'
import { Executor } from '../../../src/engine/execute.ts'
import { Host } from '../../../src/engine/host.ts'
import { Memory } from '../../../src/engine/memory.ts'
import { OutputStream } from '../../../src/engine/outputs.ts'
import { Shared } from '../../../src/engine/shared.ts'
import { Task } from '../../../src/engine/task.ts'
import { Timers } from '../../../src/engine/timers.ts'
import { ClaimedLog } from '../../../src/log/claimed-log.ts'
import { count } from '../../../src/operators/count.ts'
import { APPLIED_KEY, APPLYING_KEY } from '../../../src/state/marks.ts'
import { MemoryStore } from '../../../src/state/memory-store.ts'
import { PendingRows } from '../../../src/state/pending.ts'
import { RowCache } from '../../../src/state/row-cache.ts'
import { RowMap } from '../../../src/state/row-map.ts'
import { switches } from '../switches.ts'

export interface Planted {
  readonly name: string
  /** It must be found within so many seeds, from 1 on. */
  readonly seeds: number
  /** It shows only where several processes claim the same partitions, or where partitions are dealt out among them. */
  readonly worlds?: 'owners' | 'deployment'
  /** Returns what undoes it. */
  plant(): () => void
}

/** What takes more seeds is looked for in the long mode only. */
export const QUICK_SEEDS = 300

/** Replaces a method; `make` is given the real one. */
export function replace<T extends object, K extends keyof T>(target: T, name: K, make: (real: T[K]) => T[K]): () => void {
  const real = target[name]
  target[name] = make(real)
  return () => {
    target[name] = real
  }
}

/** Turns a switch of the simulated machine. */
function turned(name: keyof typeof switches): () => () => void {
  return () => {
    switches[name] = true
    return () => {
      switches[name] = false
    }
  }
}

export const PLANTED_IN_ONE: readonly Planted[] = [
  {
    name: 'the dedupe rows are not looked up',
    seeds: 60,
    plant: () =>
      replace(
        PendingRows.prototype,
        'getMany',
        (real) =>
          async function (this: PendingRows, keys) {
            const rows = await real.call(this, keys)
            return rows.map((row, i) => (keys[i]?.startsWith('d') ? undefined : row))
          },
      ),
  },
  {
    name: 'the mark of an apply is written before its rows',
    seeds: 60,
    plant: () =>
      replace(
        MemoryStore.prototype,
        'write',
        (real) =>
          function (this: MemoryStore, batch) {
            const aim = batch.puts.find(([key]) => key === APPLYING_KEY)
            return real.call(this, aim ? { ...batch, puts: [...batch.puts, [APPLIED_KEY, aim[1]]] } : batch)
          },
      ),
  },
  {
    name: 'every third timer is dropped',
    seeds: 20,
    plant: () =>
      replace(
        Timers.prototype,
        'arm',
        (real) =>
          function (this: Timers, timer, n) {
            if (timer.due % 3 !== 0) real.call(this, timer, n)
          },
      ),
  },
  { name: 'commits are trusted, and relayed, before they are durable', seeds: 10, plant: turned('trustsJournal') },
  { name: 'events are acknowledged before they are durable', seeds: 10, plant: turned('trustsEvents') },
  { name: 'blocks of transitions count as relayed before they are durable', seeds: 400, plant: turned('trustsOutputs') },
  {
    name: 'the high-water marks of the output logs are forgotten',
    seeds: 60,
    plant: () => replace(OutputStream.prototype, 'open', () => async () => undefined),
  },
  {
    name: 'a hand-over is taken in twice',
    seeds: 20,
    plant: () =>
      replace(
        Executor.prototype,
        'absorb',
        (real) =>
          function (this: Executor, root, from, cause) {
            real.call(this, root, from, cause)
            // Decoded anew: the first one has become a part of the profile.
            real.call(this, root, { ...from, state: Buffer.from(from.state) }, cause)
          },
      ),
  },
  {
    name: 'proposals that wait are lost',
    seeds: 100,
    plant: () =>
      replace(
        Executor.prototype,
        'touch',
        (real) =>
          function (this: Executor, root) {
            root.held.length = 0
            real.call(this, root)
          },
      ),
  },
  {
    name: 'what time owes a profile is passed over when an event comes',
    seeds: 100,
    plant: plantLateFlips,
  },
  {
    name: 'a window closes 1 ms late',
    seeds: 60,
    plant: () =>
      replace(count, 'reading', (real) => (condition) => {
        const reading = real(condition)
        const read = reading.read.bind(reading)
        reading.read = (state, now, out) => {
          read(state, now, out)
          if (out.flipsAt < Number.POSITIVE_INFINITY) out.flipsAt++
        }
        return reading
      }),
  },
  { name: 'messages are confirmed when they arrive', seeds: 60, plant: turned('confirmsEarly') },
  {
    name: 'answers show what is not committed',
    seeds: 600,
    plant: () =>
      replace(
        Memory.prototype,
        'durableRow',
        () =>
          function (this: Memory, key) {
            return this.peek(key)
          },
      ),
  },
  {
    name: 'what is under way keeps no position open',
    seeds: 60,
    plant: () => replace(Task.prototype, 'openness', () => () => ({ open: new Map(), oldestStamp: Number.POSITIVE_INFINITY })),
  },
  {
    name: 'time follows the clock past events that wait',
    seeds: 60,
    plant: () => replace(Shared.prototype, 'allowedNow', () => (clockNow) => clockNow),
  },
  {
    name: "a hand-over forgets the profile's time",
    seeds: 60,
    plant: () =>
      replace(
        Apply.prototype,
        'leave',
        (real) =>
          function (this: Apply, p) {
            real.call(this, p)
            p.asOf = 0
          },
      ),
  },
  {
    name: 'a hand-over forgets events that wait for their instant',
    seeds: 100,
    plant: () =>
      replace(
        Apply.prototype,
        'leave',
        (real) =>
          function (this: Apply, p) {
            real.call(this, p)
            p.future.length = 0
          },
      ),
  },
  {
    name: 'the sweep fills nobody',
    seeds: 60,
    plant: () =>
      replace(
        Executor.prototype,
        'execute',
        (real) =>
          function (this: Executor, input) {
            return input.kind === 'fill' ? undefined : real.call(this, input)
          },
      ),
  },
  {
    name: 'scans pass over rows that wait for the store',
    seeds: 20,
    plant: () => replace(RowMap.prototype, 'rowsIn', () => () => []),
  },
  {
    name: 'the journal is cut up to its end',
    seeds: 150,
    plant: () =>
      replace(
        Task.prototype,
        'barrier',
        () =>
          async function (this: Task) {
            return this.journalEnd
          },
      ),
  },
  {
    name: 'the journal is cut without syncing the store',
    seeds: 200,
    plant: () => replace(MemoryStore.prototype, 'sync', () => async () => undefined),
  },
  {
    name: 'a batch that failed is not undone',
    seeds: 30,
    plant: () => replace(Memory.prototype, 'clear', () => () => undefined),
  },
  {
    name: 'rows are evicted before they are durable',
    seeds: 20,
    plant: () =>
      replace(
        RowCache.prototype,
        'evict',
        (real) =>
          function (this: RowCache, budgetBytes) {
            real.call(this, budgetBytes, 2 ** 30)
          },
      ),
  },
  { name: 'an append that was not read back is trusted', seeds: 60, worlds: 'owners', plant: turned('trustsAppends') },
  {
    name: 'what leaves does not wait until ownership was seen',
    seeds: 60,
    worlds: 'owners',
    plant: () => replace(ClaimedLog.prototype, 'owned', () => () => undefined),
  },
  { name: 'a newer claim is ignored', seeds: 20, worlds: 'owners', plant: turned('ignoresClaims') },
  { name: 'the guards are not asked', seeds: 60, plant: turned('forgetsGuards') },
  {
    name: 'leaves are not repointed to who takes them over, but dropped',
    seeds: 20,
    plant: () =>
      replace(
        Executor.prototype,
        'setLeaf',
        (real) =>
          function (this: Executor, x, leaf) {
            if (leaf.key.length === PROFILE_KEY_BYTES && leaf.key.charCodeAt(1) % 7 !== 3) real.call(this, x, leaf)
          },
      ),
  },
  {
    name: 'a confirmation is lost now and then',
    seeds: 100,
    plant: () =>
      replace(
        Host.prototype,
        'receive',
        (real) =>
          function (this: Host, message) {
            if (message.t !== 'confirm' || message.seq % 3 !== 0) real.call(this, message)
          },
      ),
  },
]

function plantLateFlips(): () => void {
  let isInEvent = false
  const undoEvent = replace(
    Apply.prototype,
    'event',
    (real) =>
      function (this: Apply, p, event, cause) {
        isInEvent = true
        try {
          real.call(this, p, event, cause)
        } finally {
          isInEvent = false
        }
      },
  )
  const undoPass = replace(
    Apply.prototype,
    'pass',
    (real) =>
      function (this: Apply, p, now) {
        if (!isInEvent) real.call(this, p, now)
      },
  )
  return () => {
    undoPass()
    undoEvent()
  }
}
