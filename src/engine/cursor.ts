// Places in an output stream. Owns their text.
import type { LogRecord } from '../log/log.ts'
import { decodeBlock, entryId } from './outbox.ts'

/** Behind `place` entries of the record with this ordinal. */
export interface Cursor {
  readonly ordinal: number
  readonly place: number
}

/** An entry with its id and the place behind it. */
export interface Numbered<T> {
  readonly id: string
  readonly behind: Cursor
  readonly entry: T
}

export type Decode<T> = (entries: Buffer) => T[]

export const cursorText = (c: Cursor): string => `c${c.ordinal.toString(36)}.${c.place.toString(36)}`

export function parseCursor(text: string): Cursor | undefined {
  const m = /^c([0-9a-z]{1,10})\.([0-9a-z]{1,6})$/.exec(text)
  return m ? { ordinal: Number.parseInt(m[1] ?? '', 36), place: Number.parseInt(m[2] ?? '', 36) } : undefined
}

/** The entries of a record of the stream's log. */
export function entriesOf<T>({ partition, ordinal, payload }: Omit<LogRecord, 'position'>, decode: Decode<T>): Numbered<T>[] {
  const { firstSeq, entries } = decodeBlock(payload)
  return decode(entries).map((entry, place) => ({
    id: entryId(partition, firstSeq + place),
    behind: { ordinal, place: place + 1 },
    entry,
  }))
}
