import type { EngineStatus, PartitionStatus, SegmentView } from '../engine/engine.ts'
import type { SourceFacts } from '../intake/sources/source.ts'
import { clientOf } from './client.ts'
import type { Command } from './command.ts'
import { CONNECTION, noPositionals, readFlags, showsHelp } from './flags.ts'
import { grouped, type Paint, paintFor, table } from './terminal.ts'

export const status: Command = {
  name: 'status',
  summary: 'Show partitions, lag, profiles and segments.',
  usage: '[options]',
  details: 'Exit code 1 when a partition has stopped or the engine is not ready.',
  flags: [...CONNECTION, { name: 'json', description: 'What /v1/status answers.' }],

  async run(argv, io) {
    const flags = readFlags(status, argv)
    if (showsHelp(flags, status, io)) return 0
    noPositionals(flags, 'status')
    const client = clientOf(flags, io.env)
    const engine = await client.json<EngineStatus & { version?: string; sources?: readonly SourceFacts[] }>('/v1/status', {
      signal: io.interrupted,
    })
    const stopped = engine.partitions.filter((p) => p.state === 'stopped')
    const code = engine.ready && stopped.length === 0 ? 0 : 1
    if (flags.on('json')) {
      io.out.write(`${JSON.stringify(engine)}\n`)
      return code
    }
    const { items } = await client.json<{ items: SegmentView[] }>('/v1/segments', { signal: io.interrupted })
    const paint = paintFor(io.out, io.env)
    const ready = engine.ready ? paint('green', 'ready') : paint('yellow', 'not ready')
    const lag = engine.partitions.reduce((sum, p) => sum + p.lag, 0)
    io.out.write(`tributary ${engine.version ?? ''} at ${client.url} · ${ready} · ${engine.clock} clock at ${engine.now}\n`)
    io.out.write(
      `${grouped(engine.profiles)} profiles · lag ${grouped(lag)} · ${items.length} segments · definitions version ${engine.definitionsVersion}\n\n`,
    )
    io.out.write(partitionTable(engine.partitions, paint))
    if (items.length > 0) io.out.write(`\n${segmentTable(items, paint)}`)
    if (engine.sources) io.out.write(`\n${sourceTable(engine.sources, paint)}`)
    for (const s of engine.deleting) io.out.write(`${s.id} is deleted; its members are leaving: ${Math.floor(s.progress * 100)} %\n`)
    for (const p of stopped) io.err.write(`partition_stopped: Partition ${p.partition} has stopped: ${p.reason ?? 'no reason given'}.\n`)
    if (stopped.length > 0) io.err.write('  What to do next: see the server log, then restart it; docs/operations.md says more.\n')
    return code
  },
}

function partitionTable(partitions: readonly PartitionStatus[], paint: Paint): string {
  const isCluster = partitions.some((p) => p.owner !== undefined)
  const columns = ['partition', 'state', 'position', 'end', 'lag', 'profiles', 'now', ...(isCluster ? ['owner'] : [])]
  const head = columns.map((h) => paint('dim', h))
  const rows = partitions.map((p) => {
    const state = p.state === 'running' ? p.state : paint(p.state === 'stopped' ? 'red' : 'yellow', p.state)
    const facts = [String(p.partition), state, grouped(p.position), grouped(p.end), grouped(p.lag), grouped(p.profiles), p.now]
    return isCluster ? [...facts, p.owner ?? 'nobody'] : facts
  })
  return table([head, ...rows], [0, 2, 3, 4, 5])
}

function sourceTable(sources: readonly SourceFacts[], paint: Paint): string {
  const head = ['source', 'state', 'records', 'rejected', 'lag', 'last error'].map((h) => paint('dim', h))
  const rows = sources.map((s) => {
    const state = s.state === 'running' ? s.state : paint('yellow', s.state)
    const error = s.lastError ? `${s.lastError.code} at ${s.lastError.at}` : ''
    return [s.name, state, grouped(s.records), grouped(s.rejected), grouped(s.lag), error]
  })
  return table([head, ...rows], [2, 3, 4])
}

export function segmentTable(segments: readonly SegmentView[], paint: Paint): string {
  const head = ['segment', 'size', 'version', 'status', 'name'].map((h) => paint('dim', h))
  const rows = segments.map((s) => {
    const state = s.status === 'live' ? s.status : paint('yellow', `filling ${Math.floor(s.progress * 100)} %`)
    return [s.id, grouped(s.size), String(s.version), state, s.name ?? '']
  })
  return table([head, ...rows], [1, 2])
}
