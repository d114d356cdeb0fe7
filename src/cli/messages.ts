// Messages of NDJSON files (also .gz, or standard input) one by one: memory doesn't grow with the file.
import { hash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { basename } from 'node:path'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import { parseInstant } from '../intake/timestamp.ts'
import { CommandError } from './failure.ts'

/** Of a line: far above what the server takes for one message, so that the server can say what is wrong with it. */
const MAX_LINE_BYTES = 2 * 1024 * 1024
/** Stands for a line that is too long. */
const TOO_LONG = Buffer.alloc(0)
const NEWLINE = 10
const GZIP = [0x1f, 0x8b] as const

export type Message = { [key: string]: unknown }

export interface Line {
  readonly file: string
  readonly number: number
  /** Undefined when the line holds no message; `problem` says why. */
  readonly message: Message | undefined
  readonly problem?: string
  /** Milliseconds; NaN when the message tells no instant. */
  readonly at: number
}

/** How far reading has come. */
export interface ReadProgress {
  bytesRead: number
  /** Undefined when standard input is among the files. */
  bytesTotal: number | undefined
}

export const STDIN = '-'

export async function sizeOf(files: readonly string[]): Promise<number | undefined> {
  if (files.includes(STDIN)) return undefined
  let total = 0
  for (const file of files) total += (await stat(file)).size
  return total
}

export async function* readMessages(files: readonly string[], input: Readable, progress?: ReadProgress): AsyncGenerator<Line> {
  for (const file of files) {
    const source = file === STDIN ? input : createReadStream(file)
    let number = 0
    for await (const line of linesOf(inflated(counted(source, progress), file))) {
      number++
      if (line === TOO_LONG)
        yield { file, number, message: undefined, problem: `The line is longer than ${MAX_LINE_BYTES} bytes.`, at: Number.NaN }
      else {
        const text = line.toString('utf8').trim()
        if (text !== '') yield lineOf(text, file, number)
      }
    }
  }
}

function lineOf(text: string, file: string, number: number): Line {
  let message: unknown
  try {
    message = JSON.parse(text)
  } catch {
    return { file, number, message: undefined, problem: 'The line is not JSON.', at: Number.NaN }
  }
  if (typeof message !== 'object' || message === null || Array.isArray(message)) {
    return { file, number, message: undefined, problem: 'The line is no JSON object.', at: Number.NaN }
  }
  const own = message as Message
  // A repeat of the same replay must carry the same ids, or everything would count twice.
  if (own.messageId === undefined || own.messageId === null || own.messageId === '') {
    own.messageId = `replay-${hash('sha256', `${basename(file)}\u0000${number}\u0000${text}`, 'hex').slice(0, 32)}`
  }
  const at = parseInstant(own.timestamp ?? own.originalTimestamp)
  return { file, number, message: own, at }
}

async function* counted(source: Readable, progress: ReadProgress | undefined): AsyncGenerator<Buffer> {
  for await (const chunk of source) {
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : (chunk as Buffer)
    if (progress) progress.bytesRead += bytes.length
    yield bytes
  }
}

/** Compressed or not is seen from the first bytes, not from the name: standard input has none. */
async function* inflated(source: AsyncGenerator<Buffer>, file: string): AsyncGenerator<Buffer> {
  const first = await source.next()
  if (first.done) return
  const whole = (async function* () {
    yield first.value
    yield* source
  })()
  if (first.value[0] !== GZIP[0] || first.value[1] !== GZIP[1]) {
    yield* whole
    return
  }
  const gunzip = createGunzip()
  const piped = pipeline(whole, gunzip)
  // What goes wrong is told by the loop below.
  piped.catch(() => {})
  try {
    for await (const chunk of gunzip) yield chunk as Buffer
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : ''
    throw new CommandError(
      'unreadable',
      `${file} is damaged: ${message}.`,
      'What came before the damage was sent; get the file anew and repeat the replay.',
    )
  }
}

async function* linesOf(source: AsyncGenerator<Buffer>): AsyncGenerator<Buffer> {
  let rest: Buffer[] = []
  let restBytes = 0
  for await (const chunk of source) {
    let from = 0
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, from)) {
      const piece = chunk.subarray(from, end)
      from = end + 1
      yield restBytes + piece.length > MAX_LINE_BYTES ? TOO_LONG : rest.length === 0 ? piece : Buffer.concat([...rest, piece])
      rest = []
      restBytes = 0
    }
    const tail = chunk.subarray(from)
    restBytes += tail.length
    // Of a line that is too long only its length is kept.
    if (restBytes > MAX_LINE_BYTES) rest = []
    else if (tail.length > 0) rest.push(tail)
  }
  if (restBytes > MAX_LINE_BYTES) yield TOO_LONG
  else if (restBytes > 0) yield Buffer.concat(rest)
}
