import { expect, test } from 'vitest'
import { all, any, event, not, segment, trait } from '../../src/operators/build.ts'
import { parseSegment } from '../../src/operators/parse.ts'

const json = (x: unknown): unknown => JSON.parse(JSON.stringify(x))

test('the builder yields the JSON that one would write', () => {
  const built = segment('recent-buyers')
    .named('Recent buyers')
    .where(all(event('Order Completed').within('30d').count({ gte: 1 }), not(trait('plan').eq('free'))))
  expect(json(built)).toEqual({
    id: 'recent-buyers',
    name: 'Recent buyers',
    where: { all: [{ event: 'Order Completed', within: '30d', count: { gte: 1 } }, { not: { trait: 'plan', eq: 'free' } }] },
  })
  expect(parseSegment(built)).toEqual(built)
})

test('every kind of condition', () => {
  const order = event('Order Completed').where({ 'properties.total': { gte: 50 } })
  const built = segment('s').where(
    any(
      order,
      order.within('1.5h'),
      order.where({ 'properties.currency': 'EUR' }).within('30d').sum('properties.total').gte(500),
      order.avg('properties.total').between(10, 20),
      order.min('properties.total').exists(false),
      order.max('properties.total').in(1, 2),
      order.distinct('properties.sku').is({ gt: 1, lt: 9 }),
      order.first({ within: '7d' }),
      event('A', 'B').last({ before: '30d' }),
      event('A').within('7d').didNot(),
      trait('born').beforeLast('1w'),
      trait('renews').withinNext('3d'),
      trait('email').endsWith('@example.com'),
      trait('tags').contains('vip'),
      trait('age').is({ gte: 18, lt: 30 }),
      trait('since').after('2026-01-01'),
    ),
  )
  const head = { event: 'Order Completed', where: { 'properties.total': { gte: 50 } } }
  expect(json(built.where)).toEqual({
    any: [
      head,
      { ...head, within: '1.5h' },
      { ...head, where: { ...head.where, 'properties.currency': 'EUR' }, within: '30d', sum: 'properties.total', gte: 500 },
      { ...head, avg: 'properties.total', between: [10, 20] },
      { ...head, min: 'properties.total', exists: false },
      { ...head, max: 'properties.total', in: [1, 2] },
      { ...head, distinct: 'properties.sku', gt: 1, lt: 9 },
      { ...head, first: { within: '7d' } },
      { event: ['A', 'B'], last: { before: '30d' } },
      { event: 'A', within: '7d', count: { eq: 0 } },
      { trait: 'born', beforeLast: '1w' },
      { trait: 'renews', withinNext: '3d' },
      { trait: 'email', endsWith: '@example.com' },
      { trait: 'tags', contains: 'vip' },
      { trait: 'age', gte: 18, lt: 30 },
      { trait: 'since', after: '2026-01-01' },
    ],
  })
  expect(parseSegment(json(built)).where).toEqual(json(built.where))
})
