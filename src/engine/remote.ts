// Asks another process of the cluster over HTTP, and reads what another asks. Owns the encoding of questions and answers, the limits of
// both, and what an answer that does not come means.
//
//   request    version u8 · question            (V8's serialisation: binary texts, byte arrays, undefined and Infinity as they are)
//   reply      version u8 · {answer} or {error: code, message}
//
// 1. Nothing of a body is looked at before whoever sent it has shown the secret.
// 2. A process that can't be reached, is stopping or speaks another version doesn't answer for its partitions: `partition_moving`.
//    A question changes nothing, so it may be asked again.
// 3. A question is given up after its time: a status soon, a look at everything late.
import { createHash, timingSafeEqual } from 'node:crypto'
import { deserialize, serialize } from 'node:v8'
import type { Clock } from '../core/clock.ts'
import { TributaryError } from '../core/errors.ts'
import type { Peer } from './directory.ts'
import { type Failure, failureOf } from './host.ts'
import { errorOf } from './links.ts'
import type { Answer, Question } from './questions.ts'

export const QUESTIONS_PATH = '/internal/questions'
/** A definition may be large; a list of ends has a number for each partition. */
export const MAX_QUESTION_BYTES = 4 << 20
/** A page of a timeline: 1000 events of at most 256 kB, hardly ever more than a few. */
const MAX_ANSWER_BYTES = 272 << 20

const VERSION = 1
const STATUS_MS = 2000
/** It looks at every profile. */
const PREVIEW_MS = 60_000

const KINDS: { readonly [kind in Question['kind']]: true } = {
  find: true,
  rows: true,
  memberships: true,
  members: true,
  preview: true,
  finished: true,
  settled: true,
  isFinished: true,
  status: true,
  clock: true,
}

interface Reply {
  readonly answer?: Answer
  readonly error?: Failure
}

const encode = (value: Question | Reply): Buffer => Buffer.concat([Buffer.of(VERSION), serialize(value)])

function decode(body: Uint8Array): unknown {
  if (body[0] !== VERSION) throw new TributaryError('partition_moving', `another process speaks version ${body[0]}, not ${VERSION}`)
  return deserialize(body.subarray(1))
}

/** What another process asks; throws when it is no question. */
export function decodeQuestion(body: Uint8Array): Question {
  const question = decode(body) as Partial<Question> | undefined
  if (typeof question !== 'object' || question === null || typeof question.kind !== 'string' || !Object.hasOwn(KINDS, question.kind))
    throw new TributaryError('invalid_request', 'the body is no question')
  return question as Question
}

/** The reply with an answer, or with why there is none. */
export async function replyWith(answer: Promise<Answer>): Promise<Buffer> {
  try {
    return encode({ answer: await answer })
  } catch (error) {
    return encode({ error: failureOf(error) })
  }
}

function answerIn(body: Uint8Array): Answer {
  const { answer, error } = decode(body) as Reply
  if (answer) return answer
  const failure = error ? errorOf(error) : new Error('another process answered nothing')
  if (failure instanceof TributaryError && failure.code === 'shutting_down') throw silent(failure.message)
  throw failure
}

/** (1) Says nothing of how much of a guess was right. */
export function knowsSecret(authorization: string | undefined, secret: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text.trim()).digest()
  return timingSafeEqual(digest(authorization ?? ''), digest(`Bearer ${secret}`))
}

const silent = (why: string, cause?: unknown): TributaryError => new TributaryError('partition_moving', why, { cause })

export interface HttpPeersOptions {
  readonly secret: string
  readonly clock: Clock
  /** How long an answer may take. */
  readonly timeoutMs: number
}

/** Connects to processes by their addresses, `http://HOST:PORT`. */
export function httpPeers(options: HttpPeersOptions): (address: string) => Peer {
  return (address) => ({ ask: (question) => askOver(address, question, options) })
}

async function askOver(address: string, question: Question, { secret, clock, timeoutMs }: HttpPeersOptions): Promise<Answer> {
  const aborting = new AbortController()
  const cancel = clock.after(patienceMs(question, timeoutMs), () => aborting.abort())
  try {
    const reply = await fetch(new URL(QUESTIONS_PATH, address), {
      method: 'POST',
      headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/octet-stream' },
      body: encode(question),
      signal: aborting.signal,
      redirect: 'error',
    })
    // No fault of whoever asks us: an administrator has to see it.
    if (reply.status === 401) throw new Error(`the process at ${address} has another kafka.secret`)
    if (!reply.ok) throw silent(`the process at ${address} answered with status ${reply.status}`)
    return answerIn(await bodyOf(reply))
  } catch (error) {
    // What `fetch` throws is no more precise than that.
    if (error instanceof TypeError || (error instanceof DOMException && aborting.signal.aborted))
      throw silent(`the process at ${address} does not answer`, error)
    throw error
  } finally {
    cancel()
  }
}

/** (3) */
function patienceMs({ kind }: Question, timeoutMs: number): number {
  if (kind === 'status') return Math.min(STATUS_MS, timeoutMs)
  return kind === 'preview' ? Math.max(PREVIEW_MS, timeoutMs) : timeoutMs
}

async function bodyOf(reply: Response): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of reply.body ?? []) {
    bytes += chunk.length
    if (bytes > MAX_ANSWER_BYTES) throw new TributaryError('internal', `an answer of another process exceeds ${MAX_ANSWER_BYTES} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
