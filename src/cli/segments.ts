import { createInterface } from 'node:readline/promises'
import type { Writable } from 'node:stream'
import type { SegmentView } from '../engine/engine.ts'
import { type Client, clientOf } from './client.ts'
import type { Command, Io } from './command.ts'
import { type Change, changesBetween, changeText } from './definition-diff.ts'
import { readDefinitions } from './definition-files.ts'
import { CommandError, usageError } from './failure.ts'
import { CONNECTION, type Flags, readFlags, showsHelp } from './flags.ts'
import { nearest } from './nearest.ts'
import { sleepUnless } from './sender.ts'
import { segmentTable } from './status.ts'
import { bar, grouped, ProgressLine, paintFor } from './terminal.ts'

const POLL_MS = 200

export const segments: Command = {
  name: 'segments',
  summary: 'Apply segment definitions from files, or list segments.',
  usage: 'apply DIR | list [options]',
  details: `
apply reads *.json and *.yaml definitions ({"id"?, "name"?, "where"}; the id is the file's name where none is given), shows how
they differ from the server's, asks, saves them, and waits until they are live. Without a terminal it needs --yes.`,
  flags: [
    ...CONNECTION,
    { name: 'yes', description: "apply: don't ask." },
    { name: 'prune', description: 'apply: delete segments that the directory does not hold; their members exit.' },
    { name: 'json', description: 'list: what /v1/segments answers.' },
  ],

  async run(argv, io) {
    const flags = readFlags(segments, argv)
    if (showsHelp(flags, segments, io)) return 0
    const [action, dir, extra] = flags.positionals
    if (action === 'list' && dir === undefined) return list(clientOf(flags, io.env), flags, io)
    if (action !== 'apply') {
      throw usageError(
        `${action === undefined ? 'An action is missing' : `There is no action ${action}`}: apply or list.${nearest(action ?? '', ['apply', 'list'])}`,
        'segments',
      )
    }
    if (dir === undefined || extra !== undefined) throw usageError('apply takes one directory.', 'segments')
    const definitions = await readDefinitions(dir)
    const client = clientOf(flags, io.env)
    const changes = changesBetween(definitions, await allSegments(client, io))
    return apply(changes, { client, prune: flags.on('prune'), yes: flags.on('yes') }, io)
  },
}

async function allSegments(client: Client, io: Io): Promise<SegmentView[]> {
  const { items } = await client.json<{ items: SegmentView[] }>('/v1/segments', { signal: io.interrupted })
  return items
}

async function list(client: Client, flags: Flags, io: Io): Promise<number> {
  const all = await allSegments(client, io)
  if (flags.on('json')) io.out.write(`${JSON.stringify(all)}\n`)
  else if (all.length === 0) io.out.write('There are no segments. `tributary segments apply DIR` makes some from files.\n')
  else io.out.write(segmentTable(all, paintFor(io.out, io.env)))
  return 0
}

export interface ApplyOptions {
  readonly client: Client
  readonly prune: boolean
  readonly yes: boolean
}

export async function apply(changes: readonly Change[], { client, prune, yes }: ApplyOptions, io: Io): Promise<number> {
  const paint = paintFor(io.out, io.env)
  for (const change of changes) io.out.write(`${changeText(change, prune, paint)}\n`)
  const saved = changes.flatMap((c) => (c.kind === 'new' || c.kind === 'changed' ? [c.wanted] : []))
  const deleted = prune ? changes.flatMap((c) => (c.kind === 'only on server' ? [c.id] : [])) : []
  if (saved.length === 0 && deleted.length === 0) {
    io.out.write('Nothing to change.\n')
    return 0
  }
  const what = [saved.length > 0 ? `save ${saved.length}` : '', deleted.length > 0 ? `delete ${deleted.length}` : '']
    .filter((x) => x !== '')
    .join(', ')
  if (!yes && !(await agreed(what, io))) {
    io.out.write('Nothing was changed.\n')
    return 1
  }
  const warnings: string[] = []
  for (const { id, ...body } of saved) {
    const path = `/v1/segments/${encodeURIComponent(id)}`
    const view = await client.json<SegmentView>(path, { method: 'PUT', body, signal: io.interrupted })
    if (view.warning !== undefined) warnings.push(`${id}: ${view.warning}`)
  }
  for (const id of deleted) await client.json(`/v1/segments/${encodeURIComponent(id)}`, { method: 'DELETE', signal: io.interrupted })
  for (const warning of warnings) io.out.write(paint('yellow', `! ${warning}\n`))
  const live = await untilLive(client, new Set(saved.map((s) => s.id)), io)
  if (live.length > 0) io.out.write(`\n${segmentTable(live, paint)}`)
  return 0
}

async function agreed(what: string, io: Io): Promise<boolean> {
  if (!io.input.isTTY || !io.out.isTTY) {
    throw new CommandError('usage', `Without a terminal nobody can agree to ${what}.`, 'Run it again with --yes.')
  }
  const questions = createInterface({ input: io.input, output: io.out as Writable })
  try {
    const answer = await questions.question(`\n${what}? [y/N] `, { signal: io.interrupted })
    return /^y(es)?$/i.test(answer.trim())
  } finally {
    questions.close()
  }
}

/** The segments named, once all of them are live. */
async function untilLive(client: Client, ids: ReadonlySet<string>, io: Io): Promise<SegmentView[]> {
  const line = new ProgressLine(io.err, io.clock)
  for (;;) {
    const mine = (await allSegments(client, io)).filter((s) => ids.has(s.id))
    const filling = mine.filter((s) => s.status === 'filling')
    if (filling.length === 0) {
      line.clear()
      return mine
    }
    const progress = mine.reduce((sum, s) => sum + (s.status === 'live' ? 1 : s.progress), 0) / mine.length
    line.show(() => `${bar(progress)} ${Math.floor(progress * 100)} % · ${grouped(mine.length - filling.length)} of ${mine.length} live`)
    await sleepUnless(io.clock, POLL_MS, io.interrupted)
  }
}
