// Lines of a text file, read piece by piece, as a file of events may be larger than a text can be.
import { closeSync, openSync, readSync } from 'node:fs'

const CHUNK_BYTES = 4 << 20
const NEWLINE = 10

/** The lines that aren't empty. */
export function* linesOf(path: string): Generator<string, void, undefined> {
  const file = openSync(path, 'r')
  try {
    const buffer = Buffer.allocUnsafe(CHUNK_BYTES)
    let rest = Buffer.alloc(0)
    for (let size = readSync(file, buffer); size > 0; size = readSync(file, buffer)) {
      const piece = Buffer.concat([rest, buffer.subarray(0, size)])
      // Cut where a line ends, never within a character.
      const end = piece.lastIndexOf(NEWLINE) + 1
      for (const line of piece.toString('utf8', 0, end).split('\n')) if (line !== '') yield line
      rest = piece.subarray(end)
    }
    if (rest.length > 0) yield rest.toString('utf8')
  } finally {
    closeSync(file)
  }
}
