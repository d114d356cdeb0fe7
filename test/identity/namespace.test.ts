import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { identifierKey, UNLISTED_PRIORITY } from '../../src/core/identifier.ts'
import { DEFAULT_LIMIT, DEFAULT_TOTAL, MAX_VALUE_CHARACTERS, Namespaces } from '../../src/core/namespace.ts'

const namespaces = new Namespaces()
const value = (namespace: string, raw: unknown): string => {
  const found = namespaces.normalise(namespace, raw)
  return 'value' in found ? found.value : `blocked: ${found.blocked}`
}

describe('normalisation', () => {
  test.each([
    ['user_id', '  U1\t', 'U1'],
    ['user_id', 42, '42'],
    ['user_id', 'Zoe\u0308', 'Zo\u00eb'],
    ['email', ' Ann@Example.COM ', 'ann@example.com'],
    ['phone', '+49 (0)30 / 123-45.67', '+49301234567'],
    ['phone', '0049 30 1234567', '+49301234567'],
    ['phone', '(030) 123\u201345', '03012345'],
    ['phone', 'ask Ann ', 'ask Ann'],
    ['device', ' Ab ', 'Ab'],
  ])('%s %j is %j', (namespace, raw, expected) => {
    expect(value(namespace, raw)).toBe(expected)
  })

  test('twice is once', () => {
    fc.assert(
      fc.property(
        fc.constantFrom('user_id', 'email', 'phone', 'device'),
        fc.oneof(fc.string({ unit: 'grapheme' }), fc.stringMatching(/^[+0-9() .-]{0,20}$/)),
        (namespace, raw) => {
          const once = namespaces.normalise(namespace, raw)
          if ('value' in once) expect(namespaces.normalise(namespace, once.value)).toEqual(once)
        },
      ),
      { seed: 1, numRuns: 3000 },
    )
  })
})

describe('blocked', () => {
  const nobody = [
    'null',
    'NULL',
    ' undefined ',
    'None',
    'nil',
    'N/A',
    'NaN',
    'Anonymous',
    'guest',
    'Unknown',
    '0',
    0,
    '-1',
    -1,
    '000',
    '[object Object]',
    '{}',
    'false',
  ]
  const zeros = ['00000000-0000-0000-0000-000000000000', '{00000000-0000-0000-0000-000000000000}', '00000000000000000000000000000000']
  test.each([...nobody, ...zeros])('%j is nobody', (raw) => {
    for (const namespace of ['user_id', 'anonymous_id', 'device']) expect(value(namespace, raw)).toBe('blocked: blocked_value')
  })

  test.each(['nullable', 'annul', '10', '-10', 'guest7', 'a0', 'unknown@example.com', '00000000-0000-0000-0000-000000000001'])(
    '%j may be somebody',
    (raw) => {
      expect(value('user_id', raw)).toBe(raw)
    },
  )

  test.each([
    [undefined, 'empty'],
    [null, 'empty'],
    ['   ', 'empty'],
    [true, 'not_text'],
    [{}, 'not_text'],
    [2 ** 60, 'inexact_number'],
    [Number.NaN, 'inexact_number'],
    ['x'.repeat(MAX_VALUE_CHARACTERS + 1), 'too_long'],
    ['\ud800', 'malformed'],
  ])('%j: %s', (raw, reason) => {
    expect(value('user_id', raw)).toBe(`blocked: ${reason}`)
  })

  test('what is configured adds to the defaults, exact after normalisation or as a pattern', () => {
    const own = new Namespaces({
      namespaces: [
        { name: 'email', blocked: [' Test@Example.com', '/@mailinator\\.com$/'] },
        { name: 'phone', blocked: ['+49 30 1'] },
      ],
    })
    const blocked = (namespace: string, raw: string) => 'blocked' in own.normalise(namespace, raw)
    expect(['TEST@example.com', 'a@Mailinator.com', 'null'].map((raw) => blocked('email', raw))).toEqual([true, true, true])
    expect(['xtest@example.com', 'a@mailinator.com.org'].map((raw) => blocked('email', raw))).toEqual([false, false])
    expect(blocked('phone', '0049-301')).toBe(true)
    expect(blocked('user_id', 'test@example.com')).toBe(false)
  })

  test('a pattern takes linear time, and one that is none is refused', () => {
    const own = new Namespaces({ namespaces: [{ name: 'user_id', blocked: ['/(a+)+$/'] }] })
    // Whoever went back to try the other ways would be at it for ever.
    expect('blocked' in own.normalise('user_id', `${'a'.repeat(400)}!`)).toBe(false)
    expect(() => new Namespaces({ namespaces: [{ name: 'user_id', blocked: ['/(/'] }] })).toThrow('no pattern of RE2')
  })
})

describe('priorities and limits', () => {
  test('follow the list', () => {
    expect(['user_id', 'email', 'phone', 'anonymous_id', 'device'].map((name) => namespaces.priorityOf(name))).toEqual([
      0,
      1,
      2,
      3,
      UNLISTED_PRIORITY,
    ])
    const found = namespaces.identifierOf('email', 'A@b.c')
    expect(found).toEqual({ key: identifierKey(1, 'email', 'a@b.c'), namespace: 'email', value: 'a@b.c' })
  })

  test('a namespace is unique, has a limit of its own, or that of its kind', () => {
    const { limits } = new Namespaces({
      namespaces: [{ name: 'user_id' }, { name: 'crm', unique: true }, { name: 'email', limit: 9 }, { name: 'phone' }, { name: 'loyalty' }],
      others: { limit: 7 },
    })
    expect([...limits.of]).toEqual([
      ['user_id', 1],
      ['crm', 1],
      ['email', 9],
      ['phone', 5],
      ['loyalty', DEFAULT_LIMIT],
    ])
    expect([limits.others, limits.total]).toEqual([7, DEFAULT_TOTAL])
    expect(new Namespaces({ namespaces: [{ name: 'user_id', unique: false }] }).limits.of.get('user_id')).toBe(DEFAULT_LIMIT)
    expect(new Namespaces({ namespaces: [{ name: 'user_id', limit: 3 }], limit: 12 }).limits).toMatchObject({
      total: 12,
      of: new Map([['user_id', 3]]),
    })
  })

  test('are plain data', () => {
    expect(structuredClone(namespaces.limits)).toEqual(namespaces.limits)
  })

  test('names are distinct', () => {
    expect(() => new Namespaces({ namespaces: [{ name: 'a' }, { name: 'a' }] })).toThrow('listed twice')
  })
})
