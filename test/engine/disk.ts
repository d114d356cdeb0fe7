// Disks in memory whose syncs take their time, and what is left of them when the process is killed.
import type { MemoryDisk } from '../../src/engine/open.ts'
import { type MemoryFaults, MemoryLog } from '../../src/log/memory-log.ts'
import { MemoryStore } from '../../src/state/memory-store.ts'
import { below, type Random } from '../identity/random.ts'

export interface TestDisk extends MemoryDisk {
  /** Of the events log, and of each host's journal. */
  readonly faults: { readonly events: MemoryFaults; readonly journals: readonly MemoryFaults[]; readonly outputs: MemoryFaults }
}

/** With `random`, syncs become durable after some turns of the loop; without, in the next microtask. */
export function testDisk(partitions: number, hosts: number, random?: Random): TestDisk {
  const listener = { synced: (_: number): void => {} }
  const faultsOf = (): MemoryFaults => (random ? { schedule: (complete) => afterTurns(below(random, 4), complete) } : {})
  const faults = { events: faultsOf(), journals: Array.from({ length: hosts }, faultsOf), outputs: faultsOf() }
  const output = (n: number): MemoryLog => new MemoryLog({ partitions: n, faults: faults.outputs })
  return {
    faults,
    listener,
    events: new MemoryLog({ partitions, faults: faults.events, onSynced: (ordinal) => listener.synced(ordinal) }),
    journals: faults.journals.map((f) => new MemoryLog({ partitions, faults: f })),
    definitions: output(1),
    streams: { transitions: output(partitions + 1), merges: output(partitions + 1), deadLetters: output(partitions + 1) },
    stores: Array.from({ length: partitions }, () => new MemoryStore()),
  }
}

/** What a new process finds after this one was killed: of what was not synced, as much as luck would have it. */
export function crashed(disk: TestDisk, random: Random): TestDisk {
  const again = (log: MemoryLog): MemoryLog => log.crash({ keepUnsynced: below(random, 4), torn: random() < 0.3 })
  const { transitions, merges, deadLetters } = disk.streams
  return {
    ...disk,
    events: again(disk.events),
    journals: disk.journals.map(again),
    definitions: again(disk.definitions),
    streams: { transitions: again(transitions), merges: again(merges), deadLetters: again(deadLetters) },
    // The killed process can't write to them any more.
    stores: disk.stores.map((store) => new MemoryStore(store.snapshot())),
  }
}

export function afterTurns(turns: number, run: () => void): void {
  if (turns <= 0) queueMicrotask(run)
  else setImmediate(() => afterTurns(turns - 1, run))
}

const MOST_TURNS = 20_000

/** Waits until the work is done or `stopped` says that it never will be; throws when it takes too many turns of the loop. */
export async function within<T>(work: Promise<T>, stopped: () => boolean = () => false): Promise<T> {
  let isDone = false
  const finished = work.finally(() => {
    isDone = true
  })
  finished.catch(() => undefined)
  for (let turn = 0; !isDone && !stopped(); turn++) {
    if (turn > MOST_TURNS) throw new Error('the engine does not come to rest')
    await turns(1)
  }
  if (stopped()) throw new Error('stopped')
  return finished
}

export function turns(n: number): Promise<void> {
  return new Promise((resolve) => afterTurns(n, resolve))
}
