// The product on Kafka, on one machine: a broker of its own, users' events from a topic, one record each, transitions into a topic.
//
//   node bench/kafka.ts [--events 300000] [--users 100000] [--segments 50] [--partitions 16] [--rate 4000] [--seconds 40] [--warm 15]
//     [--engine kafka|embedded] [--phases preload,source,live,restart,moves] [--session 6000] [--json]
//
// preload   events lie in the source's topic; from the start of the process until all are worked off and relayed
// source    the same topic read by a source alone, without an engine behind it: what reading, mapping and packing cost, and appending
// live      events at a fixed rate into the topic; latency from their schedule to the transition at a reader of its topic
// restart   kill -9 and a new process, with its files and without: how long until each partition answers, and what was read from Kafka
// moves     two processes: one is killed (the other has files of its partitions, or none, or was standing by), one leaves, one joins
//
// All on one deployment, in this order; preload always, unless only `source` is wanted. `--engine embedded` does the first on files instead, with the same source.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { BenchBroker } from './kafka-cluster.ts'
import { KafkaDeployment } from './kafka-deployment.ts'
import { type LiveSetup, liveOnKafka } from './kafka-live.ts'
import { moves, restarts } from './kafka-moves.ts'
import { type Bench, fillSource, type PreloadSetup, preload } from './kafka-preload.ts'
import { sourceCosts } from './kafka-source.ts'
import { type Leavings, tidily } from './leavings.ts'
import { type Figures, printed } from './report.ts'

export const PHASES = ['preload', 'source', 'live', 'restart', 'moves'] as const
export type Phase = (typeof PHASES)[number]

export interface KafkaBench extends PreloadSetup, LiveSetup {
  readonly partitions: number
  /** After so long without a sign a process counts as dead. */
  readonly sessionMs: number
  /** On files instead, beside the same broker. */
  readonly isEmbedded: boolean
  readonly phases: readonly Phase[]
}

const PREFIX = 'bench'
/** The topic of the peer in the side-by-side comparison has as many. */
const SOURCE_PARTITIONS = 8

interface Listener {
  /** How it goes. */
  say(line: string): unknown
  /** A result, as soon as it is there. */
  tell(figures: Figures): unknown
}

export async function kafkaBench(o: KafkaBench, listener: Listener): Promise<void> {
  await tidily((leavings) => run(o, listener, leavings))
}

async function run(o: KafkaBench, { say, tell }: Listener, leavings: Leavings): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'tributary-bench-kafka-'))
  leavings.add(() => rmSync(dir, { recursive: true, force: true }))
  const broker = await BenchBroker.start(say, leavings)
  const deployment = new KafkaDeployment({ ...o, dir, prefix: PREFIX, brokers: broker.brokers })
  leavings.add(() => deployment.stop())
  const bench: Bench = { broker, deployment, say }
  await broker.makeTopic(deployment.source, SOURCE_PARTITIONS)
  if (o.phases.every((phase) => phase === 'source')) await fillSource(bench, o)
  else {
    await deployment.define(o.segments)
    tell(await preload(bench, o))
  }
  if (o.phases.includes('source')) for await (const figures of sourceCosts(bench, o.events)) tell(figures)
  if (o.phases.includes('live')) for (const figures of await liveOnKafka(bench, o)) tell(figures)
  if (o.phases.includes('restart')) for await (const figures of restarts(bench)) tell(figures)
  if (o.phases.includes('moves')) for await (const figures of moves(bench)) tell(figures)
}

function readOptions(args: string[]): KafkaBench & { json: boolean } {
  const number = (x: string) => ({ type: 'string', default: x }) as const
  const { values: v } = parseArgs({
    args,
    options: {
      events: number('300000'),
      users: number('100000'),
      segments: number('50'),
      partitions: number('16'),
      rate: number('4000'),
      seconds: number('40'),
      warm: number('15'),
      session: number('6000'),
      engine: { type: 'string', default: 'kafka' },
      phases: { type: 'string', default: PHASES.join(',') },
      json: { type: 'boolean', default: false },
    },
  })
  const phases = v.phases.split(',').map((name) => {
    const phase = PHASES.find((p) => p === name)
    if (phase === undefined) throw new Error(`${name} is none of ${PHASES.join(', ')}`)
    return phase
  })
  if (v.engine !== 'kafka' && v.engine !== 'embedded') throw new Error(`${v.engine} is neither kafka nor embedded`)
  return {
    events: Number(v.events),
    users: Number(v.users),
    segments: Number(v.segments),
    partitions: Number(v.partitions),
    rate: Number(v.rate),
    seconds: Number(v.seconds),
    warmSeconds: Number(v.warm),
    sessionMs: Number(v.session),
    isEmbedded: v.engine === 'embedded',
    phases: v.engine === 'embedded' ? ['preload'] : phases,
    json: v.json,
  }
}

if (import.meta.main) {
  const { json, ...o } = readOptions(process.argv.slice(2))
  await kafkaBench(o, {
    say: (line) => process.stderr.write(`${line}\n`),
    tell: (figures) => process.stdout.write(`${printed(figures, json)}\n`),
  })
}
