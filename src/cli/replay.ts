import { durationMs } from '../operators/duration.ts'
import { type Client, clientOf } from './client.ts'
import type { Command, Io } from './command.ts'
import { CommandError, usageError } from './failure.ts'
import { CONNECTION, type Flags, readFlags, showsHelp } from './flags.ts'
import { type Message, type ReadProgress, readMessages, STDIN, sizeOf } from './messages.ts'
import { Sender } from './sender.ts'
import { bar, clockText, grouped, ProgressLine, paintFor } from './terminal.ts'
import { TimeLapse } from './time-lapse.ts'

const DEFAULT_STEP = '6h'
/** The server takes events up to a day ahead of its clock. */
const MAX_STEP_MS = 86_400_000

export const replay: Command = {
  name: 'replay',
  summary: 'Send recorded messages to a running server.',
  usage: 'FILE… [options]',
  details: `
Files hold Segment messages as NDJSON, one per line, plain or gzipped; - is standard input. Dropped connections and 429 are
retried. Messages without a messageId get one made from their place and contents, so a replay that is repeated within the
server's dedupeWindow counts once. A sentAt is left out: it would move recorded instants. Exit code 1 if any message was rejected.

With --clock, a server started with --clock manual is driven along the messages' own time: everything up to the end of a step is
sent, then the clock moves there. Messages so lie ahead of the clock and take effect when it reaches them (cause: timer). With
--clock-first they come after it, late by up to a step (cause: event).`,
  flags: [
    ...CONNECTION,
    { name: 'batch', value: 'N', description: 'Messages per request (500).' },
    { name: 'concurrency', value: 'N', description: 'Requests at a time (4). With 1, messages arrive in the order of the files.' },
    { name: 'shift-to', value: 'TIME', description: 'Shift all timestamps so that the newest is now, or this ISO time.' },
    { name: 'clock', description: 'Drive the manual clock of the server along the timestamps, which must be in order.' },
    { name: 'step', value: 'TIME', description: `How far --clock moves at once (${DEFAULT_STEP}).` },
    {
      name: 'clock-first',
      description: 'With --clock: move to the end of a step before its messages are sent; they arrive late by up to a step.',
    },
    { name: 'speed', value: 'N', description: 'With --clock: so many times as fast as time.' },
    { name: 'duration', value: 'TIME', description: 'With --clock: take so long in all, such as 60s.' },
  ],

  async run(argv, io) {
    const flags = readFlags(replay, argv)
    if (showsHelp(flags, replay, io)) return 0
    return replayFiles(planOf(flags, io), io)
  },
}

interface Plan {
  readonly client: Client
  readonly files: readonly string[]
  readonly batch: number
  readonly concurrency: number
  /** Where the newest timestamp is shifted to, ms. */
  readonly shiftTo: number | undefined
  readonly stepMs: number | undefined
  readonly clockFirst: boolean
  readonly speed: number | undefined
  readonly durationMs: number | undefined
}

function planOf(flags: Flags, io: Io): Plan {
  const files = flags.positionals
  if (files.length === 0) throw usageError('No file is named.', 'replay')
  const driven = flags.on('clock')
  for (const name of ['step', 'clock-first', 'speed', 'duration']) {
    if (flags.on(name) && !driven) throw usageError(`--${name} needs --clock.`, 'replay')
  }
  if (flags.on('speed') && flags.on('duration')) throw usageError('--speed and --duration exclude one another.', 'replay')
  if (files.includes(STDIN) && (flags.on('shift-to') || flags.on('duration'))) {
    throw usageError('--shift-to and --duration read everything twice, which standard input does not allow.', 'replay')
  }
  const stepMs = spanOf(flags.text('step') ?? DEFAULT_STEP, 'step')
  if (stepMs > MAX_STEP_MS) throw usageError('--step is at most 24h: the server takes no events further ahead of its clock.', 'replay')
  const duration = flags.text('duration')
  return {
    client: clientOf(flags, io.env),
    files,
    batch: flags.count('batch', { min: 1, max: 10_000, otherwise: 500 }),
    concurrency: flags.count('concurrency', { min: 1, max: 64, otherwise: 4 }),
    shiftTo: shiftTarget(flags.text('shift-to'), io),
    stepMs: driven ? stepMs : undefined,
    clockFirst: flags.on('clock-first'),
    speed: speedOf(flags.text('speed')),
    durationMs: duration === undefined ? undefined : spanOf(duration, 'duration'),
  }
}

function spanOf(text: string, flag: string): number {
  try {
    return durationMs(text)
  } catch {
    throw usageError(`--${flag} is a duration such as 6h or 60s, not ${JSON.stringify(text)}.`, 'replay')
  }
}

function shiftTarget(text: string | undefined, io: Io): number | undefined {
  if (text === undefined) return undefined
  const ms = text === 'now' ? io.clock.now() : Date.parse(text)
  if (Number.isNaN(ms)) throw usageError(`--shift-to takes now or an ISO time, not ${JSON.stringify(text)}.`, 'replay')
  return ms
}

function speedOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const speed = Number(text.replace(/x$/, ''))
  if (!(speed > 0 && Number.isFinite(speed))) throw usageError(`--speed is a number such as 100000, not ${JSON.stringify(text)}.`, 'replay')
  return speed
}

interface Span {
  readonly oldest: number
  readonly newest: number
}

/** The first pass over the files, for what must be known beforehand. */
async function spanOfFiles(plan: Plan, io: Io): Promise<Span> {
  let [oldest, newest] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
  const look = new ProgressLine(io.err, io.clock)
  let n = 0
  for await (const { at } of readMessages(plan.files, io.input)) {
    if (++n % 1000 === 0) io.interrupted.throwIfAborted()
    look.show(() => `reading timestamps: ${grouped(n)} messages`)
    if (at < oldest) oldest = at
    if (at > newest) newest = at
  }
  look.clear()
  if (newest < oldest)
    throw new CommandError('invalid_timestamp', 'No message has a timestamp.', 'Replay without --shift-to and --duration.')
  return { oldest, newest }
}

const FIELDS_OF_TIME = ['timestamp', 'originalTimestamp', 'receivedAt'] as const

/** The message as it is sent: without sentAt, and `shiftMs` later. */
export function prepared(message: Message, shiftMs: number): Message {
  const { sentAt: _, ...rest } = message
  if (shiftMs === 0) return rest
  for (const field of FIELDS_OF_TIME) {
    const at = typeof rest[field] === 'string' ? Date.parse(rest[field]) : Number.NaN
    if (!Number.isNaN(at)) rest[field] = new Date(at + shiftMs).toISOString()
  }
  return rest
}

const AGAIN = 'repeat the same command; what was accepted counts once within dedupeWindow.'
/** The window is one of the manual clock too, and the replay has moved that on. */
const AGAIN_DRIVEN = 'start the server with a fresh --data-dir and repeat the same command; time has moved past dedupeWindow.'

async function replayFiles(plan: Plan, io: Io): Promise<number> {
  const progress: ReadProgress = { bytesRead: 0, bytesTotal: await sizeOf(plan.files) }
  const span = plan.shiftTo !== undefined || plan.durationMs !== undefined ? await spanOfFiles(plan, io) : undefined
  const shiftMs = plan.shiftTo === undefined || !span ? 0 : plan.shiftTo - span.newest
  const view = new ReplayView(io, progress)
  const { client, batch, concurrency, stepMs, clockFirst } = plan
  const signal = io.interrupted
  const sender = new Sender({ client, clock: io.clock, batch, concurrency, signal, onRetry: (why) => view.retrying(why) })
  view.sender = sender
  const speed = plan.durationMs !== undefined && span ? Math.max(1, span.newest - span.oldest) / plan.durationMs : plan.speed
  const lapse =
    stepMs === undefined
      ? undefined
      : await TimeLapse.open({ client, sender, clock: io.clock, stepMs, clockFirst, speed, signal, onStep: (now) => view.moved(now) })
  try {
    for await (const line of readMessages(plan.files, io.input, progress)) {
      signal.throwIfAborted()
      if (line.message === undefined) {
        sender.skip(`${line.file}:${line.number}`, line.problem ?? '')
        continue
      }
      await lapse?.reach(line.at + shiftMs)
      await sender.add(line, prepared(line.message, shiftMs))
      view.show()
    }
    await sender.flush()
    await lapse?.finish()
  } catch (error) {
    view.ended()
    if (!signal.aborted) throw error
    io.err.write(`Interrupted after ${grouped(sender.sent)} messages.\n  What to do next: ${lapse ? AGAIN_DRIVEN : AGAIN}\n`)
    return 130
  }
  view.ended()
  return view.result()
}

class ReplayView {
  readonly #io: Io
  readonly #progress: ReadProgress
  readonly #line: ProgressLine
  readonly #startMs: number
  #now = ''
  #retries = 0
  #why = ''
  sender: Sender | undefined

  constructor(io: Io, progress: ReadProgress) {
    this.#io = io
    this.#progress = progress
    this.#line = new ProgressLine(io.err, io.clock)
    this.#startMs = io.clock.monotonicMs()
  }

  moved(nowMs: number): void {
    this.#now = ` · ${new Date(nowMs).toISOString().slice(0, 16).replace('T', ' ')}`
    this.show()
  }

  retrying(why: string): void {
    this.#retries++
    this.#why = why
    this.show()
  }

  show(): void {
    this.#line.show(() => this.#text())
  }

  #text(): string {
    const { bytesRead, bytesTotal } = this.#progress
    const sent = this.sender?.sent ?? 0
    const elapsedMs = this.#io.clock.monotonicMs() - this.#startMs
    const rate = `${grouped(sent)} sent · ${grouped((sent * 1000) / Math.max(1, elapsedMs))}/s`
    const trouble = this.#retries === 0 ? '' : ` · ${this.#retries} retries (${this.#why})`
    const rejected = this.sender && this.sender.rejectedCount > 0 ? ` · ${grouped(this.sender.rejectedCount)} rejected` : ''
    if (bytesTotal === undefined || bytesTotal === 0) return `${rate}${this.#now}${rejected}${trouble}`
    const fraction = Math.min(1, bytesRead / bytesTotal)
    const eta = fraction > 0 ? ` · ETA ${clockText((elapsedMs * (1 - fraction)) / fraction)}` : ''
    return `${bar(fraction)} ${String(Math.floor(fraction * 100)).padStart(3)} % · ${rate}${eta}${this.#now}${rejected}${trouble}`
  }

  ended(): void {
    this.#line.clear()
  }

  /** The last lines and the exit code. */
  result(): number {
    const { out, env, clock } = this.#io
    const { sent = 0, rejectedCount = 0, rejected = [], unsentCount = 0, rejectedByCode = new Map<string, number>() } = this.sender ?? {}
    const elapsedMs = clock.monotonicMs() - this.#startMs
    const accepted = sent - (rejectedCount - unsentCount)
    const paint = paintFor(out, env)
    out.write(
      `${grouped(accepted)} messages accepted in ${(elapsedMs / 1000).toFixed(1)} s (${grouped((sent * 1000) / Math.max(1, elapsedMs))}/s)${this.#now}\n`,
    )
    if (rejectedCount === 0) return 0
    out.write(
      paint('red', `${grouped(rejectedCount)} rejected: ${[...rejectedByCode].map(([code, n]) => `${code} ${grouped(n)}`).join(', ')}\n`),
    )
    for (const { place, code, message } of rejected) out.write(`  ${place}  ${code}: ${message}\n`)
    if (rejectedCount > rejected.length) out.write(`  … and ${grouped(rejectedCount - rejected.length)} more\n`)
    out.write('  What to do next: mend these lines and replay them alone. What the server rejected it keeps: GET /v1/dead-letters.\n')
    return 1
  }
}
