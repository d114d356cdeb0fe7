// Seven months of a gift shop in a minute: a server of its own, a manual clock, 13 segments, 12,795 real orders and refunds, and
// the entries and exits that they and time cause. Everything goes through the public HTTP interface.
//
//   npm run demo -- [--seconds N] [--exit]
import { join } from 'node:path'
import { Client } from '../../src/cli/client.ts'
import { readDefinitions } from '../../src/cli/definition-files.ts'
import { errorLines } from '../../src/cli/failure.ts'
import { readFlags } from '../../src/cli/flags.ts'
import { follow, type ShownTransition } from '../../src/cli/follow.ts'
import { readMessages } from '../../src/cli/messages.ts'
import { Sender } from '../../src/cli/sender.ts'
import { grouped, paintFor } from '../../src/cli/terminal.ts'
import { TimeLapse } from '../../src/cli/time-lapse.ts'
import { systemClock } from '../../src/core/clock.ts'
import type { ProfileView } from '../../src/engine/engine.ts'
import { startServer } from './child.ts'
import { nextText, profileLine, summaryText } from './summary.ts'
import { demoLine, Ticker } from './ticker.ts'

const ORDERS = join(import.meta.dirname, 'orders.ndjson.gz')
const SEGMENTS = join(import.meta.dirname, 'segments')
/** Orders are sent up to an hour late, and so count as events that come, not as events foretold. */
const STEP_MS = 3_600_000
const DAY_MS = 86_400_000
const DAYS = 212
const FIRST_DAY_MS = Date.parse('2010-12-01')
/** A guest with a large order, and a customer who was away: the orders know no log-ins, so one is invented. */
const GUEST = 'guest-558475'
const CUSTOMER = 'c-14854'

const clock = systemClock
const out = process.stdout
const paint = paintFor(out, process.env)
const stop = new AbortController()
const say = (text: string): void => void out.write(`${text}\n`)

const flags = readFlags(
  {
    name: 'demo',
    flags: [
      { name: 'seconds', value: 'N', description: 'How long the seven months take.' },
      { name: 'days', value: 'N', description: 'Play only the first N days, without the log-in at the end.' },
      { name: 'exit', description: 'Leave after the summary.' },
    ],
  },
  process.argv.slice(2),
)

async function demo(): Promise<void> {
  if (flags.on('help'))
    return say('npm run demo -- [--seconds N (45; 0: as fast as it goes)] [--days N (212)] [--exit (leave after the summary)]')
  const seconds = flags.count('seconds', { min: 0, max: 3600, otherwise: 45 })
  const days = flags.count('days', { min: 1, max: DAYS, otherwise: DAYS })
  const server = await startServer()
  try {
    const client = new Client(server.url)
    say(`${paint('bold', 'Tributary demo')}: seven months of a British gift shop, real orders (UCI Online Retail, CC BY 4.0)`)
    say(`A server runs at ${paint('cyan', server.url)}, on a clock that the replay drives.\n`)
    await applySegments(client)
    const orders = await Promise.race([timeLapse(client, days, seconds), server.ended.then((why) => Promise.reject(new Error(why)))])
    if (days === DAYS) await signIn(client)
    out.write(await summaryText(client, orders, paint))
    out.write(await nextText(client, paint))
    if (!flags.on('exit')) await Promise.race([interrupted(), server.ended.then(say)])
  } finally {
    await server.stop()
  }
}

async function applySegments(client: Client): Promise<void> {
  const definitions = await readDefinitions(SEGMENTS)
  for (const { id, ...body } of definitions) await client.json(`/v1/segments/${id}`, { method: 'PUT', body, signal: stop.signal })
  for (const { id, name = '' } of definitions) say(`  ${paint('bold', id.padEnd(25))}  ${paint('dim', name)}`)
  say('')
}

/** Sends the months; returns the number of messages. */
async function timeLapse(client: Client, days: number, seconds: number): Promise<number> {
  const { signal } = stop
  const ticker = new Ticker(out, paint, clock)
  const finished = new AbortController()
  let connected = (): void => {}
  const ready = new Promise<void>((resolve) => {
    connected = resolve
  })
  const following = (async () => {
    for await (const t of follow({ client, clock, signal: AbortSignal.any([signal, finished.signal]), onConnected: () => connected() }))
      ticker.add(t)
  })()
  try {
    await Promise.race([ready, following])
    const sender = new Sender({ client, clock, batch: 500, concurrency: 1, signal })
    const lapse = await TimeLapse.open({
      client,
      sender,
      clock,
      stepMs: STEP_MS,
      clockFirst: true,
      speed: seconds === 0 ? undefined : (days * DAY_MS) / (seconds * 1000),
      signal,
      onStep: (now) =>
        ticker.status(
          paint(
            'cyan',
            `  ${new Date(now).toISOString().slice(0, 10)} · ${grouped(sender.sent)} messages · ${grouped(ticker.seen)} transitions`,
          ),
        ),
    })
    for await (const line of readMessages([ORDERS], process.stdin)) {
      if (line.message === undefined) throw new Error(`${ORDERS}:${line.number}: ${line.problem}`)
      if (line.at >= FIRST_DAY_MS + days * DAY_MS) break
      await lapse.reach(line.at)
      await sender.add(line, line.message)
    }
    await lapse.finish()
    await client.json('/v1/admin/settle', { method: 'POST', signal })
    return sender.sent
  } finally {
    ticker.stop()
    finished.abort()
    await following
  }
}

async function signIn(client: Client): Promise<void> {
  const { signal } = stop
  const profileOf = (ref: string, headers = {}): Promise<ProfileView> => client.json(`/v1/profiles/${ref}`, { signal, headers })
  const [guest, customer] = [await profileOf(`anonymous_id:${GUEST}`), await profileOf(`user_id:${CUSTOMER}`)]
  const messageId = 'demo-sign-in'
  say(`\n${paint('bold', 'Two become one.')} The orders know no log-ins, so one is invented here: ${GUEST} signs in as ${CUSTOMER}.`)
  out.write(profileLine('guest', guest, paint) + profileLine('customer', customer, paint))
  const before = await lastTransition(client)
  const body = { messageId, anonymousId: GUEST, userId: CUSTOMER }
  const { position } = await client.json<{ position: string }>('/v1/identify', { method: 'POST', body, signal })
  const one = await profileOf(`anonymous_id:${GUEST}`, { 'min-position': position })
  await client.json('/v1/admin/settle', { method: 'POST', signal })
  out.write(profileLine('together', one, paint))
  const query = before === undefined ? '' : `&after=${encodeURIComponent(before)}`
  const { items } = await client.json<{ items: ShownTransition[] }>(`/v1/transitions?limit=1000${query}`, { signal })
  for (const t of items) say(demoLine(t, paint))
}

async function lastTransition(client: Client): Promise<string | undefined> {
  let last: string | undefined
  for (let next: string | undefined = ''; next !== undefined; ) {
    const page: { items: ShownTransition[]; next?: string } = await client.json(
      `/v1/transitions?limit=1000${next === '' ? '' : `&after=${encodeURIComponent(next)}`}`,
    )
    last = page.items.at(-1)?.id ?? last
    next = page.next
  }
  return last
}

function interrupted(): Promise<void> {
  return new Promise((resolve) => stop.signal.addEventListener('abort', () => resolve(), { once: true }))
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    if (stop.signal.aborted) process.exit(130)
    stop.abort(new Error(signal))
  })
}
try {
  await demo()
} catch (error) {
  if (!stop.signal.aborted) {
    process.stderr.write(errorLines(error))
    process.exitCode = 1
  }
}
process.exit()
