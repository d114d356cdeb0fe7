import { CAUSES, type Cause } from '../core/transition.ts'
import { type Client, clientOf, profilePath } from './client.ts'
import type { Command, Io } from './command.ts'
import { usageError } from './failure.ts'
import { CONNECTION, type Flags, noPositionals, readFlags, showsHelp } from './flags.ts'
import { follow, type ShownTransition } from './follow.ts'
import { type Paint, paintFor } from './terminal.ts'

export const tail: Command = {
  name: 'tail',
  summary: 'Show entries and exits as they happen.',
  usage: '[options]',
  details: 'Reconnects when the server restarts, and goes on where it was. Ctrl-C ends it.',
  flags: [
    ...CONNECTION,
    { name: 'segment', value: 'ID', description: 'Of this segment; may be repeated.', repeated: true },
    { name: 'profile', value: 'REF', description: 'Of this profile: its public id, user id, or namespace:value.' },
    { name: 'cause', value: 'CAUSE', description: `With this cause; may be repeated: ${CAUSES.join(', ')}.`, repeated: true },
    { name: 'entered', description: 'Entries only.' },
    { name: 'exited', description: 'Exits only.' },
    {
      name: 'after',
      value: 'ID',
      description: 'From after this transition on, instead of from now on; - is from the beginning of what is kept.',
    },
    { name: 'json', description: 'One JSON object per line.' },
  ],

  async run(argv, io) {
    const flags = readFlags(tail, argv)
    if (showsHelp(flags, tail, io)) return 0
    noPositionals(flags, 'tail')
    const client = clientOf(flags, io.env)
    const wanted = await filterOf(flags, client, io)
    const paint = paintFor(io.out, io.env)
    const segments = flags.texts('segment')
    const [segment] = segments
    const options = {
      client,
      clock: io.clock,
      signal: io.interrupted,
      ...(segments.length === 1 && segment !== undefined ? { segment } : {}),
    }
    const show = (t: ShownTransition): void => {
      if (wanted(t)) io.out.write(flags.on('json') ? `${JSON.stringify(t)}\n` : `${transitionLine(t, paint)}\n`)
    }
    let after = flags.text('after')
    if (after === '-') after = await showKept(options, show)
    const notes = {
      onConnected: () => void (flags.on('json') || io.err.write(`following ${client.url}\n`)),
      onLost: (why: string) => void io.err.write(`connection lost (${why}); reconnecting\n`),
    }
    for await (const t of follow({ ...options, ...notes, ...(after === undefined ? {} : { after }) })) show(t)
    return 0
  },
}

interface TransitionPage {
  readonly items: readonly ShownTransition[]
  readonly next?: string
}

/** Shows what the server keeps, page by page; returns the id to go on after. */
async function showKept(
  { client, signal, segment }: { client: Client; signal: AbortSignal; segment?: string },
  show: (t: ShownTransition) => void,
): Promise<string | undefined> {
  let last: string | undefined
  for (let next: string | undefined = ''; next !== undefined; ) {
    const query = new URLSearchParams({
      limit: '1000',
      ...(next === '' ? {} : { after: next }),
      ...(segment === undefined ? {} : { segment }),
    })
    const page: TransitionPage = await client.json(`/v1/transitions?${query}`, { signal })
    for (const t of page.items) show(t)
    last = page.items.at(-1)?.id ?? last
    next = page.next
  }
  return last
}

async function filterOf(flags: Flags, client: Client, io: Io): Promise<(t: ShownTransition) => boolean> {
  const causes = flags.texts('cause')
  for (const cause of causes) {
    if (!CAUSES.includes(cause as Cause)) throw usageError(`${JSON.stringify(cause)} is no cause; there are ${CAUSES.join(', ')}.`, 'tail')
  }
  if (flags.on('entered') && flags.on('exited'))
    throw usageError('--entered and --exited exclude one another; without both, all are shown.', 'tail')
  const direction = flags.on('entered') ? 'entered' : flags.on('exited') ? 'exited' : undefined
  const segments = flags.texts('segment')
  const profile = flags.text('profile')
  const id = profile?.includes(':') ? (await client.json<{ id: string }>(profilePath(profile), { signal: io.interrupted })).id : profile
  return (t) =>
    (direction === undefined || t.transition === direction) &&
    (causes.length === 0 || causes.includes(t.cause)) &&
    (segments.length === 0 || segments.includes(t.segment)) &&
    (id === undefined || t.profile === id || t.userId === id)
}

const PERSON_CHARACTERS = 26

/** One transition as a line: when, which way, who, where, why. */
export function transitionLine(t: ShownTransition, paint: Paint): string {
  const entered = t.transition === 'entered'
  const person = (t.userId ?? t.profile).padEnd(PERSON_CHARACTERS)
  const mark = entered ? paint('green', '▲ entered') : paint('red', '▼ exited ')
  const why = t.causeId === undefined ? t.cause : `${t.cause} ${t.causeId}`
  return `${paint('dim', t.at.slice(0, 19).replace('T', ' '))}  ${person}  ${mark}  ${paint('bold', t.segment)}  ${paint('dim', why)}`
}
