// Bugs that show where partitions are dealt out among processes: planted like those of planted.ts. Owns their list.

import { must } from '../../../src/core/assert.ts'
import { Writer } from '../../../src/core/bytes.ts'
import { TributaryError } from '../../../src/core/errors.ts'
import { Moves } from '../../../src/engine/host-moves.ts'
import { OwnedGate } from '../../../src/engine/journal-port.ts'
import { META_KEY } from '../../../src/engine/keys.ts'
import { Relay } from '../../../src/engine/relay.ts'
import { Task } from '../../../src/engine/task.ts'
import { decodeTaskState, encodeTaskState } from '../../../src/engine/task-state.ts'
import { ClaimedLog } from '../../../src/log/claimed-log.ts'
import { KafkaEvents } from '../../../src/log/kafka-events.ts'
import { PendingRows } from '../../../src/state/pending.ts'
import { type Planted, replace } from './planted.ts'

export const PLANTED_IN_DEPLOYMENTS: readonly Planted[] = [
  {
    name: 'messages of other processes are confirmed when they arrive',
    seeds: 60,
    worlds: 'deployment',
    plant: () =>
      replace(
        Task.prototype,
        'receive',
        (real) =>
          function (this: Task, origin, seq, bytes) {
            real.call(this, origin, seq, bytes)
            this.host.confirm(origin, this.partition, seq)
          },
      ),
  },
  {
    name: 'who takes a partition over has forgotten what of each origin it has',
    seeds: 60,
    worlds: 'deployment',
    plant: plantForgottenMarks,
  },
  {
    name: 'a task that is fenced takes its last commit for done, and relays it',
    seeds: 60,
    worlds: 'deployment',
    plant: plantFencedRelay,
  },
  {
    name: 'who is asked to say again says nothing',
    seeds: 60,
    worlds: 'deployment',
    plant: () => replace(Relay.prototype, 'again', () => () => undefined),
  },
  {
    name: 'inputs do not wait for the definitions that they need',
    seeds: 60,
    worlds: 'deployment',
    plant: () =>
      replace(
        Task.prototype,
        'start',
        (real) =>
          function (this: Task) {
            // The loop's view of it only: what executes has its own.
            Object.defineProperty(this, 'definitions', { value: { version: Number.POSITIVE_INFINITY } })
            real.call(this)
          },
      ),
  },
  {
    name: 'a task whose partition is revoked goes on',
    seeds: 60,
    worlds: 'deployment',
    plant: () =>
      replace(
        Task.prototype,
        'close',
        (real) =>
          function (this: Task) {
            return this.phase === 'running' ? Promise.resolve() : real.call(this)
          },
      ),
  },
  {
    name: 'the host does not hear that a partition is revoked',
    seeds: 60,
    worlds: 'deployment',
    plant: () => replace(Moves.prototype, 'revoke', () => () => undefined),
  },
  {
    name: 'messages that were not confirmed are not sent again at a take-over',
    seeds: 60,
    worlds: 'deployment',
    plant: () =>
      replace(Relay.prototype, 'commit', (real) => {
        const begun = new WeakSet<Relay>()
        return function (this: Relay, blocks, sent, seqs) {
          real.call(this, blocks, begun.has(this) ? sent : [], seqs)
          begun.add(this)
        }
      }),
  },
  {
    name: 'where the events end is not looked up at a take-over',
    seeds: 100,
    worlds: 'deployment',
    plant: () =>
      replace(
        KafkaEvents.prototype,
        'begin',
        (real) =>
          async function (this: KafkaEvents, partition) {
            void real.call(this, partition)
          },
      ),
  },
  {
    name: 'a journal is deleted up to where the store is, whatever was written again',
    seeds: 60,
    worlds: 'deployment',
    plant: plantHastyDeletion,
  },
]

function plantHastyDeletion(): () => void {
  const real = must(Object.getOwnPropertyDescriptor(Task.prototype, 'releasable'), 'tasks say what may go')
  const get = function (this: Task): number {
    return this.journalEnd
  }
  Object.defineProperty(Task.prototype, 'releasable', { ...real, get })
  return () => Object.defineProperty(Task.prototype, 'releasable', real)
}

/** The task's row is read without the marks of what was taken. */
function plantForgottenMarks(): () => void {
  return replace(
    PendingRows.prototype,
    'getMany',
    (real) =>
      async function (this: PendingRows, keys) {
        const rows = await real.call(this, keys)
        return rows.map((row, i) => {
          if (!row || keys[i] !== META_KEY) return row
          const state = decodeTaskState(row, partitionsIn(row))
          state.marks.fill(0)
          return encodeTaskState(state, new Writer(256))
        })
      },
  )
}

/** How many partitions the row of a task tells of: tried, as it does not say so. */
function partitionsIn(row: Buffer): number {
  for (const partitions of [4, 2, 1]) {
    try {
      const state = decodeTaskState(row, partitions)
      if (encodeTaskState(state, new Writer(256)).equals(row)) return partitions
    } catch {
      // Not so many.
    }
  }
  throw new Error('a row tells of one, two or four partitions')
}

function plantFencedRelay(): () => void {
  const isFenced = (error: unknown): boolean => error instanceof TributaryError && error.code === 'fenced'
  const undoCommit = replace(
    ClaimedLog.prototype,
    'commit',
    (real) =>
      function (this: ClaimedLog, payload) {
        return real.call(this, payload).catch((error: unknown) => {
          if (isFenced(error)) return this.end()
          throw error
        })
      },
  )
  const undoGate = replace(OwnedGate.prototype, 'pass', () => (leave) => leave())
  return () => {
    undoGate()
    undoCommit()
  }
}
