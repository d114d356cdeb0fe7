// The events log as intake sees it, whichever log is under it: records in, their positions out once they are durable. Owns the one of
// a single process, whose log has one writer.
import type { LogWriter } from '../log/log.ts'
import type { Shared } from './shared.ts'

export interface EventsPort {
  /** Events of one record have at most so many bytes, if there is more than one. Absent: as many as come. */
  readonly maxRecordBytes?: number
  /** Resolves with the positions of these records when they are durable. */
  append(records: readonly { readonly partition: number; readonly payload: Buffer }[]): Promise<readonly number[]>
  /** By partition, one past the last record that anybody was told of by the time of the call. */
  ends(): Promise<readonly number[]>
  /** Nobody needs records of `partition` before `position` any more. */
  release(partition: number, position: number): Promise<void>
  close(): Promise<void>
}

/** Publishes how far the log is durable, too. */
export function eventsPort(writer: LogWriter, shared: Shared): EventsPort {
  for (let p = 0; p < writer.partitions; p++) shared.appended(p, writer.end(p))
  return {
    append: async (records) => {
      const positions = records.map(({ partition, payload }) => writer.append(partition, payload))
      await writer.sync()
      for (const { partition } of records) shared.appended(partition, writer.end(partition))
      return positions
    },
    ends: async () => Array.from({ length: writer.partitions }, (_, p) => writer.end(p)),
    release: (partition, position) => writer.release(partition, position),
    close: () => writer.close(),
  }
}
