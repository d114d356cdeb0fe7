// The first partition of a log with one writer, behind the port of a log with several: whoever can work on that can work on this. Owns
// nothing; what is appended is there once the answer says so, and what failed is final (log.ts 4).
import type { SharedLog } from './claimed.ts'
import type { LogReader, LogWriter } from './log.ts'

export function oneWriterLog({ writer, reader }: { readonly writer: LogWriter; readonly reader: LogReader }): SharedLog {
  return {
    first: async () => reader.first(0),
    append: async (payload) => {
      writer.append(0, payload)
      await writer.sync()
    },
    // Nobody else appends, so there is nothing to wait for.
    read: async (from, limits) => {
      await reader.refresh?.()
      const end = reader.end(0)
      return { records: from < end ? await reader.read(0, from, limits) : [], end }
    },
    close: async () => {
      await writer.close()
      await reader.close()
    },
  }
}
