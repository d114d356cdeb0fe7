// Another number of hosts over the same data directory: everything that was committed is there, and work goes on.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { limitsFor, openBench } from '../../bench/engine.ts'
import { Namespaces } from '../../src/core/namespace.ts'
import type { EmbeddedEngine } from '../../src/engine/embedded.ts'
import { readAndMap } from '../../src/intake/intake.ts'

const PEOPLE = 40
const namespaces = new Namespaces()

async function send(engine: EmbeddedEngine, round: number): Promise<void> {
  const batch = Array.from({ length: PEOPLE }, (_, i) => ({ type: 'track', event: 'E', userId: `u${i}`, messageId: `m${round}-${i}` }))
  const body = Buffer.from(JSON.stringify({ batch }))
  const context = { acceptedAt: engine.acceptanceTime(), sourcePriority: 100, namespaces, futureLimit: 86_400_000 }
  await engine.ingest(readAndMap(body, { dialect: 'segment', type: undefined }, context).events, [])
  await engine.settle()
}

test('hosts may change from one start to the next', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'tributary-rehost-'))
  const shape = { n: 0, users: 0, segments: 0, cover: false, partitions: 4, store: 'rocksdb', durability: 'fsync' } as const
  expect(limitsFor({ partitions: 4, hosts: 1 }).partitions).toBe(4)
  try {
    for (const [round, hosts] of [1, 3, 3, 2].entries()) {
      const engine = await openBench(dir, { ...shape, hosts })
      if (round === 0) await engine.putSegment('often', { where: { event: 'E', count: { gte: 3 } } })
      await send(engine, round)
      for (const user of ['u0', 'u7', 'u39']) {
        const ref = { namespace: 'user_id', value: user }
        expect((await engine.profileEvents(ref, { limit: 100 }))?.items).toHaveLength(round + 1)
      }
      expect((await engine.status()).profiles).toBe(PEOPLE)
      expect((await engine.segment('often'))?.size).toBe(round >= 2 ? PEOPLE : 0)
      await engine.close()
    }
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
})
