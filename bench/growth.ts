// What more segments cost when they match no more: the engine with a few segments, and with thousands beside them that look at the same
// events but never hold. Each round runs both, in turn, each in a process of its own; the ratio of their CPU per event is the result.
//
//   node bench/growth.ts [--n 200000] [--users 100000] [--few 10] [--many 10000] [--rounds 2] [--json]
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { must } from '../src/core/assert.ts'
import type { SegmentDefinition } from '../src/operators/definition.ts'
import { inProcess } from './children.ts'
import { type EngineBench, openBench, prepare } from './engine.ts'
import { type Figures, machine, measure, printed, type Result, rounded, spreadOf } from './report.ts'
import { DEFAULT_EVENTS } from './workload/events.ts'
import { definitionsOf } from './workload/map.ts'
import { segmentFile } from './workload/segments.ts'
import { EVENT_NAMES } from './workload/vocabulary.ts'

export interface GrowthOptions {
  readonly n: number
  readonly users: number
  readonly few: number
  readonly many: number
  readonly rounds: number
}

/** So many of the workload's segments, and others that never hold. */
function definitions(few: number, all: number): SegmentDefinition[] {
  const others = Array.from({ length: all - few }, (_, i) => {
    const event = must(EVENT_NAMES[i % EVENT_NAMES.length], 'index in range')
    const where = { event, where: { 'properties.category': `none ${i}` }, within: '7d', count: { gte: 1 } } as const
    return { id: `other${i}`, where }
  })
  return [...definitionsOf(segmentFile({ n: few })), ...others]
}

interface Job {
  readonly dir: string
  readonly b: EngineBench
}

/** Works a prepared directory off. */
async function run({ dir, b }: Job): Promise<Result> {
  const engine = await openBench(dir, b, DEFAULT_EVENTS.endMs)
  const end = measure('growth')
  await engine.settle()
  const result = end(b.n, { segments: b.segments })
  await engine.close()
  return result
}

export async function growth(o: GrowthOptions): Promise<Figures> {
  const costs = new Map<number, number[]>([
    [o.few, []],
    [o.many, []],
  ])
  for (let round = 0; round < o.rounds; round++) {
    for (const segments of round % 2 === 0 ? [o.few, o.many] : [o.many, o.few]) {
      const dir = mkdtempSync(join(tmpdir(), 'tributary-growth-'))
      const b: EngineBench = {
        n: o.n,
        users: o.users,
        segments,
        cover: false,
        hosts: 1,
        partitions: 16,
        store: 'rocksdb',
        durability: 'fsync',
      }
      try {
        await prepare(dir, b, { definitions: definitions(o.few, segments) })
        costs.get(segments)?.push((await inProcess<Job, Result>('growth.ts', { dir, b })).cpuUsPerEvent)
      } finally {
        rmSync(dir, { recursive: true, force: true })
      }
    }
  }
  const [few = [], many = []] = [costs.get(o.few), costs.get(o.many)]
  return {
    name: 'growth',
    events: o.n,
    few: o.few,
    many: o.many,
    cpuUsPerEventFew: spreadOf(few),
    cpuUsPerEventMany: spreadOf(many),
    ratio: spreadOf(many.map((x, i) => rounded(x / (few[i] ?? Number.NaN)))),
    load1: machine().load1,
  }
}

async function main(): Promise<void> {
  const { values: v } = parseArgs({
    options: {
      n: { type: 'string', default: '200000' },
      users: { type: 'string', default: '100000' },
      few: { type: 'string', default: '10' },
      many: { type: 'string', default: '10000' },
      rounds: { type: 'string', default: '2' },
      json: { type: 'boolean', default: false },
    },
  })
  const o = { n: Number(v.n), users: Number(v.users), few: Number(v.few), many: Number(v.many), rounds: Number(v.rounds) }
  process.stdout.write(`${printed(await growth(o), v.json)}\n`)
}

if (import.meta.main) {
  if (process.send) {
    process.once('message', (job: Job) => {
      run(job).then((result) => process.send?.(result, undefined, undefined, () => process.exit()))
    })
  } else await main()
}
