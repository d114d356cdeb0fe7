// The journal that several processes append to, one of which owns it (log/claimed-log.ts). Owns the translation between commits
// and what counts in the log.
//
// How to run a Task on it, several owners of one partition included:
//
//   const log: SharedLog = …               one connection per process and partition (in memory: test/log/unreliable-log.ts)
//   const journal = claimedJournal({ log, owner: 'process 3, opening 7', clock, troubled: (error) => … })
//   const task = new Task({ …, rows, journal })      rows: this process's own store; after a crash the same one again, or a new one
//   await task.open()                      replays, claims, and resolves when the own claim has been read
//   await task.relayAgain(); task.start()
//
// Another process opens its own task in the same way, at any time; the first one stops as soon as it reads the newer claim: its
// phase is 'stopped', its `stopReason` has code `fenced`, and nothing of it leaves any more. A process that takes a partition
// over again makes a new task and a new journal with a new `owner`. A whole Host: `claimedJournals` as its `journal` port.
//
// 1. Every commit that counts is the record that its task encoded: the numbers inside and outside are the same.
// 2. The claim of a task is the position of its claim plus 1 (log/claimed.ts), and its store's mark is always the position of a
//    commit that counts: there, and only there, (claim, n) of the task's row says all that counting needs (claimed.ts 3).
import { invariant } from '../core/assert.ts'
import { ClaimedLog, type ClaimOptions } from '../log/claimed-log.ts'
import { type Commit, decodeCommit } from './journal.ts'
import type { HostJournal, TaskJournal } from './journal-port.ts'

export interface ClaimedJournal extends TaskJournal {
  /** Whoever hands out ownership knew of this process at this instant of the monotonic clock. */
  heartbeat(atMs: number): void
}

export function claimedJournal(options: ClaimOptions): ClaimedJournal {
  const log = new ClaimedLog(options)
  return {
    isRewritten: true,
    async open({ from, claim, n, isBlank, visit, lost }) {
      const base = await log.open({
        from,
        base: isBlank ? undefined : { claim, n },
        visit: (number, payload, position) => visit(countedCommit(number, payload), position),
        lost,
      })
      return base.claim
    },
    commit: (payload, start) => log.commit(payload, start),
    owned: () => log.owned(),
    verify: () => log.verify(),
    progress: () => log.progress(),
    end: () => log.end(),
    heartbeat: (atMs) => log.heartbeat(atMs),
    close: () => log.close(),
  }
}

/** Decodes a commit that counts as number n (1). */
export function countedCommit(n: number, payload: Buffer): Commit {
  const commit = decodeCommit(payload)
  invariant(commit.n === n, 'a commit has one number (1)')
  return commit
}

/** The journals of a host whose partitions each have a log of their own. What it may lose of its head, release.ts deletes. */
export function claimedJournals(open: (partition: number) => ClaimOptions): HostJournal {
  const journals = new Set<TaskJournal>()
  return {
    of(partition) {
      const journal = claimedJournal(open(partition))
      const listed: TaskJournal = {
        ...journal,
        close: async () => {
          journals.delete(listed)
          await journal.close()
        },
      }
      journals.add(listed)
      return listed
    },
    bytes: () => 0,
    release: async () => undefined,
    close: async () => {
      await Promise.all([...journals].map((journal) => journal.close()))
    },
  }
}
