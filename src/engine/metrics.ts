// Prometheus metrics of the engine, from what the partitions report. Owns the names; counts nothing itself.
import { Counter, Gauge, Registry as PromRegistry } from 'prom-client'
import type { PartitionFacts } from './questions.ts'
import { type Restore, restSeconds } from './restoring.ts'

interface Named {
  lag(partition: number): number
  segmentId(segment: number): string
  readonly restores: readonly Restore[]
}

const COUNTERS: readonly (readonly [name: string, help: string, key: string])[] = [
  ['tributary_events_applied_total', 'Events counted in profiles', 'applied'],
  ['tributary_events_repeated_total', 'Events dropped as repeats of a message id', 'repeated'],
  ['tributary_transitions_total', 'Segment entries and exits decided since start', 'transitions'],
  ['tributary_commits_total', 'Commits since start', 'commits'],
  ['tributary_journal_bytes_total', 'Bytes given to the journal since start', 'journalBytes'],
  [
    'tributary_rewritten_bytes_total',
    'Bytes of them that are rows nobody has changed, so that the journal can lose its head',
    'rewrittenBytes',
  ],
  [
    'tributary_delete_failures_total',
    "Times since start that what is no longer needed of the engine's topics could not be deleted",
    'deleteFailures',
  ],
  ['tributary_restored_rows_total', 'Rows read from the journal before the partition ran here', 'restoredRows'],
  ['tributary_rows_read_total', 'Rows asked of the store since start', 'rowsRead'],
  ['tributary_batches_cut_total', 'Batches cut because an input wanted more rows', 'cuts'],
  ['tributary_conditions_inexact_total', "Times since start that a profile's state lost what a condition may notice", 'inexact'],
  ['tributary_execution_failures_total', 'Batches that threw and were run again input by input', 'failures'],
]

const GAUGES: readonly (readonly [name: string, help: string, key: string])[] = [
  ['tributary_cache_bytes', 'Bytes of rows of profiles and identifiers in memory', 'cacheBytes'],
  ['tributary_cached_rows', 'Decoded rows in memory', 'cachedRows'],
  ['tributary_journal_first_offset', 'Where the journal begins, as far as this owner has deleted of it', 'journalFirst'],
  ['tributary_events_first_offset', 'Likewise the events', 'eventsFirst'],
  ['tributary_exchange_first_offset', 'Likewise the exchange', 'exchangeFirst'],
  ['tributary_pending_bytes', 'Bytes of committed rows not yet in the store', 'pendingBytes'],
]

/** While a journal is being read. */
const RESTORES: readonly (readonly [name: string, help: string, value: (r: Restore) => number | undefined])[] = [
  ['tributary_restore_records', 'Records of a journal read before its partition runs here', (r) => r.read],
  ['tributary_restore_records_all', 'Records of it that are to be read', (r) => r.total],
  ['tributary_restore_bytes', 'Bytes of it read', (r) => r.bytes],
  ['tributary_restore_rest_seconds', 'How long the rest will take at this pace', (r) => restSeconds(r)],
]

export async function renderMetrics(facts: readonly PartitionFacts[], named: Named): Promise<string> {
  const registry = new PromRegistry()
  const labelNames = ['partition']
  for (const [name, help, key] of COUNTERS) {
    const counter = new Counter({ name, help, labelNames, registers: [registry] })
    for (const f of facts) counter.inc({ partition: f.partition }, f.metrics[key] ?? 0)
  }
  for (const [name, help, key] of GAUGES) {
    const gauge = new Gauge({ name, help, labelNames, registers: [registry] })
    for (const f of facts) gauge.set({ partition: f.partition }, f.metrics[key] ?? 0)
  }
  const own: readonly (readonly [string, string, (f: PartitionFacts) => number])[] = [
    ['tributary_lag_events', 'Events accepted and not yet committed', (f) => named.lag(f.partition)],
    ['tributary_profiles', 'Profiles', (f) => f.profiles],
    ['tributary_partition_running', '1 while the partition runs', (f) => (f.phase === 'running' ? 1 : 0)],
    ['tributary_partition_now_seconds', "The partition's time", (f) => f.now / 1000],
    ['tributary_fill_progress', 'How far the fill of new definitions is, 0 to 1', (f) => f.progress],
  ]
  for (const [name, help, value] of own) {
    const gauge = new Gauge({ name, help, labelNames, registers: [registry] })
    for (const f of facts) gauge.set({ partition: f.partition }, value(f))
  }
  for (const [name, help, value] of RESTORES) {
    const gauge = new Gauge({ name, help, labelNames, registers: [registry] })
    for (const r of named.restores) {
      const known = value(r)
      if (known !== undefined) gauge.set({ partition: r.partition }, known)
    }
  }
  const sizes = new Map<number, number>()
  for (const f of facts) for (const [segment, size] of f.sizes) sizes.set(segment, (sizes.get(segment) ?? 0) + size)
  const members = new Gauge({
    name: 'tributary_segment_members',
    help: 'Members of a segment',
    labelNames: ['segment'],
    registers: [registry],
  })
  for (const [segment, size] of sizes) members.set({ segment: named.segmentId(segment) }, size)
  return registry.metrics()
}
