// The ways in which an engine can be cut up, for fast-check: nothing of it may show in the results.
import fc from 'fast-check'
import type { Layout } from './world-run.ts'

export const layoutArbitrary: fc.Arbitrary<Layout> = fc
  .record({
    partitions: fc.constantFrom(1, 4, 16),
    hosts: fc.constantFrom(1, 1, 2),
    burst: fc.constantFrom(1, 3, 10),
    batchEvents: fc.oneof(fc.constantFrom(1, 2, 1000), fc.integer({ min: 1, max: 50 })),
    batchBytes: fc.constantFrom(4 << 20, 300),
    sliceMs: fc.constantFrom(1e9, 0),
    splitBytes: fc.constantFrom(4096, 60, 0),
    timerHorizonMs: fc.constantFrom(60_000, 20, 1),
    cacheBytes: fc.constantFrom(64 << 20, 5000, 0),
    applyMs: fc.constantFrom(1000, 5, 0),
    applyBytes: fc.constantFrom(4 << 20, 3000, 1),
    slow: fc.boolean(),
    guarded: fc.constantFrom(false, false, true),
    seed: fc.nat(),
  })
  .map((layout) => ({ ...layout, hosts: Math.min(layout.hosts, layout.partitions) }))
