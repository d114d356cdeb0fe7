// Figures of the sources, as they are when somebody asks.
import { Gauge, Registry } from 'prom-client'
import type { SourceFacts } from '../intake/sources/source.ts'

const PREFIX = 'tributary_source'

/** Since the process started, so they are counters by their name and meaning. */
const TOTALS = {
  records: 'Records taken',
  events: 'Events that records became',
  rejected: 'Dead letters that records became',
  empty: 'Records without a value, passed over',
  failures: 'Tries that failed for a reason outside of the records',
} as const satisfies { readonly [total in keyof SourceFacts]?: string }

/** Prometheus text; empty without sources. */
export async function sourceMetrics(sources: readonly SourceFacts[]): Promise<string> {
  if (sources.length === 0) return ''
  const registry = new Registry()
  const registers = [registry]
  for (const total of Object.keys(TOTALS) as (keyof typeof TOTALS)[]) {
    const gauge = new Gauge({ name: `${PREFIX}_${total}_total`, help: TOTALS[total], labelNames: ['source'] as const, registers })
    for (const s of sources) gauge.set({ source: s.name }, s[total])
  }
  const running = new Gauge({
    name: `${PREFIX}_running`,
    help: '1 while it reads, or waits for room in the engine; 0 while it connects or tries again',
    labelNames: ['source'] as const,
    registers,
  })
  const lag = new Gauge({
    name: `${PREFIX}_lag_records`,
    help: 'Records of the partitions that this process reads which are not taken yet',
    labelNames: ['source', 'topic', 'partition'] as const,
    registers,
  })
  for (const s of sources) {
    running.set({ source: s.name }, s.state === 'running' || s.state === 'waiting' ? 1 : 0)
    for (const p of s.partitions) lag.set({ source: s.name, topic: p.topic, partition: String(p.partition) }, p.lag)
  }
  // The library knows counters only as things that are counted up: the kind is told here.
  return (await registry.metrics()).replaceAll(/^# TYPE (\S+_total) gauge$/gm, '# TYPE $1 counter')
}
