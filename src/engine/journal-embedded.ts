// The journal of one process: its log has one writer, so an append that is synced counts. Owns nothing but the arrangement.
//
// 1. Each opening of a partition takes the next claim; nothing is written for it, since the lock on the files is the claim.
import type { LogReader, LogWriter } from '../log/log.ts'
import { CommitCounter, replayCommits } from './journal.ts'
import type { HostJournal, TaskJournal } from './journal-port.ts'

export function embeddedJournal(log: { readonly writer: LogWriter; readonly reader: LogReader }): HostJournal {
  const { writer, reader } = log
  return {
    of: (partition) => taskJournal(partition, writer, reader),
    bytes: () => writer.bytes(),
    release: (partition, position) => writer.release(partition, position),
    close: () => writer.close(),
  }
}

function taskJournal(partition: number, writer: LogWriter, reader: LogReader): TaskJournal {
  return {
    isRewritten: false,
    async open({ from, claim, n, visit }) {
      const counter = new CommitCounter(claim, n)
      await replayCommits(reader, partition, from, (commit, position) => (counter.counts(commit) ? visit(commit, position) : undefined))
      return counter.claim + 1
    },
    commit(payload) {
      const position = writer.append(partition, payload)
      return writer.sync().then(() => position)
    },
    owned: () => undefined,
    verify: async () => undefined,
    progress: () => undefined,
    end: () => reader.end(partition),
    close: async () => undefined,
  }
}
