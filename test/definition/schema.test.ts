import { readFileSync, writeFileSync } from 'node:fs'
import { Ajv2020 } from 'ajv/dist/2020.js'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { TributaryError } from '../../src/core/errors.ts'
import { parseSegment } from '../../src/operators/parse.ts'
import { SEGMENT_SCHEMA } from '../../src/operators/schema.ts'
import { whereArbitrary } from '../oracle/definitions-arbitrary.ts'

const ajv = new Ajv2020({ strict: true, strictRequired: false, strictTypes: false, validateFormats: false })
const validate = ajv.compile(SEGMENT_SCHEMA)

function parses(json: unknown): string {
  try {
    parseSegment(json)
    return 'valid'
  } catch (error) {
    if (error instanceof TributaryError) return error.message
    throw error
  }
}

test('docs/segment.schema.json is the schema (UPDATE_DOCS=1 writes it, Biome formats it)', () => {
  const file = new URL('../../docs/segment.schema.json', import.meta.url)
  if (process.env.UPDATE_DOCS === '1') writeFileSync(file, `${JSON.stringify(SEGMENT_SCHEMA, null, 2)}\n`)
  expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual(SEGMENT_SCHEMA)
})

/** What parse.ts refuses and no schema can: limits across a whole definition, and meanings of texts and ranges. */
const BEYOND_SCHEMA =
  /RE2's dialect|is above|comes behind|longer than ten years|not a whole number|counts within a window|conditions$|nested more|as JSON|needs an ISO/

/** Changes one place of a JSON value. */
function mutate(json: unknown, choose: () => number): unknown {
  const odd = [null, 0, -1, '', 'x', '7d', true, [], {}, ['x'], { eq: 1 }, { within: '1d' }]
  const pick = <T>(list: readonly T[]): T | undefined => list[choose() % Math.max(1, list.length)]
  if (Array.isArray(json) && json.length > 0 && choose() % 4 !== 0) {
    const i = choose() % json.length
    return json.map((x, j) => (i === j ? mutate(x, choose) : x))
  }
  if (typeof json === 'object' && json !== null && !Array.isArray(json)) {
    const entries = Object.entries(json)
    const chosen = pick(entries)
    switch (choose() % 6) {
      case 0:
        return pick(odd)
      case 1:
        return {
          ...json,
          [pick(['eq', 'gte', 'within', 'count', 'sum', 'last', 'all', 'event', 'trait', 'where', 'foo', '']) ?? '']: pick(odd),
        }
      case 2:
        return Object.fromEntries(entries.filter((entry) => entry !== chosen))
      default:
        return Object.fromEntries(entries.map(([key, x]) => [key, key === chosen?.[0] ? mutate(x, choose) : x]))
    }
  }
  return pick(odd)
}

describe('schema and parser agree', () => {
  test('on what is valid', () => {
    fc.assert(
      fc.property(whereArbitrary, (where) => {
        const json: unknown = { name: 'n', where: JSON.parse(JSON.stringify(where)) }
        expect(parses(json)).toBe('valid')
        expect(validate(json), JSON.stringify(validate.errors)).toBe(true)
      }),
      { numRuns: 300 },
    )
  })

  test('on definitions with something wrong', () => {
    let refused = 0
    fc.assert(
      fc.property(whereArbitrary, fc.array(fc.nat(1000), { minLength: 40, maxLength: 40 }), (where, choices) => {
        let used = 0
        const json = { where: mutate(JSON.parse(JSON.stringify(where)), () => choices[used++ % choices.length] ?? 0) }
        const parsed = parses(json)
        if (parsed !== 'valid') refused++
        // The parser stops at the first fault; where that is one of these, the schema may have seen another or none.
        if (!BEYOND_SCHEMA.test(parsed))
          expect({ json, valid: validate(json), parsed }).toEqual({ json, valid: parsed === 'valid', parsed })
      }),
      { numRuns: 1000 },
    )
    expect(refused).toBeGreaterThan(300)
  })
})
