// References and constants of a mapping.
import { describe, expect, test } from 'vitest'
import type { Json } from '../../../src/core/event.ts'
import { compileMapping, type MappingOptions } from '../../../src/intake/sources/mapping.ts'
import { record, STAMP } from './world.ts'

const RECORD = {
  ...record(9, null, { key: Buffer.from('k1'), headers: { trace: Buffer.from('t1'), many: [Buffer.from('old'), Buffer.from('new')] } }),
  topic: 'orders',
  partition: 3,
}
const VALUE: Json = { id: 5, customer: { id: 'c1', 'e.mail': 'a@example.com', tags: ['x', 'y'] }, none: null, cost: '$5' }
const mapped = (options: MappingOptions, unit: 's' | 'ms' | 'us' | 'ns' = 'ms') =>
  compileMapping(options, unit, 'sources.shop.mapping')(VALUE, RECORD)

test.each<[unknown, unknown]>([
  ['track', 'track'],
  ['$$5', '$5'],
  [true, true],
  ['$.id', 5],
  ['$.customer.id', 'c1'],
  ['$.customer["e.mail"]', 'a@example.com'],
  ['$["customer"].tags[1]', 'y'],
  ['$.customer.tags[2]', undefined],
  ['$.customer.tags.length', undefined],
  ['$.customer.nobody.there', undefined],
  ['$.toString', undefined],
  ['$.__proto__', undefined],
  ['$.none', null],
  ['$', VALUE],
  ['$key', 'k1'],
  ['$header.trace', 't1'],
  ['$header["many"]', 'new'],
  ['$header.other', undefined],
  ['$timestamp', new Date(STAMP).toISOString()],
  ['$topic', 'orders'],
  ['$partition', 3],
  ['$offset', 9],
  [
    { plan: 'pro', id: '$.id', none: '$.nobody' },
    { plan: 'pro', id: 5 },
  ],
  [{ all: ['$.id', '$.nobody', { deep: '$key' }] }, { all: [5, null, { deep: 'k1' }] }],
])('%j gives %j', (given, expected) => {
  const message = mapped({ properties: given })
  expect(message.properties).toEqual(expected)
  expect('properties' in message).toBe(expected !== undefined)
})

test.each([['$customer'], ['$.'], ['$..id'], ['$.a[x]'], ['$["a]'], ['$header'], ['$header.a.b'], ['$header[0]'], ['$.a b[']])(
  '%s is refused, and the place named',
  (text) => {
    expect(() => mapped({ traits: { email: text } })).toThrow(`sources.shop.mapping.traits.email: ${text} is no reference`)
  },
)

describe('a timestamp that is a number', () => {
  test.each([
    ['s', 1_700_000_000.5],
    ['ms', 1_700_000_000_500],
    ['us', 1_700_000_000_500_000],
    ['ns', '1700000000500000000'],
  ] as const)('in %s becomes milliseconds', (unit, said) => {
    const mapping = compileMapping({ timestamp: '$.at' }, unit, 'm')
    expect(mapping({ at: said }, RECORD)).toEqual({ timestamp: 1_700_000_000_500 })
    expect(mapping({ at: '2026-01-01T00:00:00Z' }, RECORD)).toEqual({ timestamp: '2026-01-01T00:00:00Z' })
  })
})
