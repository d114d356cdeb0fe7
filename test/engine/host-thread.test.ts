// What hosts in threads of their own hand to the main thread.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { openBench } from '../../bench/engine.ts'
import { Namespaces } from '../../src/core/namespace.ts'
import { Links } from '../../src/engine/links.ts'
import { Outputs } from '../../src/engine/outputs.ts'
import { readAndMap } from '../../src/intake/intake.ts'
import { DAY } from './harness.ts'

const SHAPE = { n: 0, users: 0, segments: 0, cover: false, partitions: 4, hosts: 2, store: 'rocksdb', durability: 'fsync' } as const
const PEOPLE = 40

const isAlone = (bytes: Uint8Array): boolean => bytes.buffer.byteLength === bytes.byteLength

test('bytes cross alone, without the slab that they were made in', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'tributary-host-thread-'))
  const taken = vi.spyOn(Outputs.prototype, 'take')
  const asked = vi.spyOn(Links.prototype, 'answer')
  const engine = await openBench(dir, SHAPE)
  await engine.putSegment('buyers', { where: { event: 'Order' } })
  const batch = Array.from({ length: PEOPLE }, (_, k) => ({ type: 'track', event: 'Order', userId: `person ${k}` }))
  const context = { acceptedAt: engine.acceptanceTime(), sourcePriority: 100, namespaces: new Namespaces(), futureLimit: DAY }
  const { events } = readAndMap(Buffer.from(JSON.stringify({ batch })), { dialect: 'segment', type: undefined }, context)
  await engine.ingest(events, [])
  await engine.settle()
  const payloads = taken.mock.calls.map(([, , payload]) => payload)
  expect((await engine.transitions({ limit: 1000 })).items).toHaveLength(PEOPLE)
  expect(payloads.length).toBeGreaterThan(0)
  expect(payloads.filter((payload) => !isAlone(payload))).toEqual([])

  const page = await engine.profileEvents({ namespace: 'user_id', value: 'person 7' }, { limit: 10 })
  expect(page?.items.map((item) => item.event)).toEqual(['Order'])
  const answers = await Promise.all(asked.mock.results.map(({ value }) => value as ReturnType<Links['answer']>))
  const values = answers.flatMap((answer) => (answer.kind === 'rows' ? answer.rows.map(([, value]) => value) : []))
  expect(values.map(isAlone)).toEqual([true])
  await engine.close()
  rmSync(dir, { recursive: true, force: true })
})
