import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { COMPARATOR_NAMES, LIMITS, parseWhere } from '../../src/operators/parse.ts'

const text = readFileSync(new URL('../../docs/segments.md', import.meta.url), 'utf8')
const blocks = [...text.matchAll(/```json\n([\s\S]*?)```/g)].map(([, block = '']) => block)
/** In a table a bar is escaped. */
const inline = [...text.matchAll(/`(\{"(?:trait|event|not|all|any)": [^`]*\})`/g)]
  .map(([, code = '']) => code.replaceAll('\\|', '|'))
  .filter((code) => !/[…A-Z]{4}|…/.test(code))

test('the examples of the docs are valid definitions', () => {
  expect(blocks.length).toBeGreaterThan(12)
  expect(inline.length).toBeGreaterThan(15)
  for (const example of [...blocks, ...inline]) expect(() => parseWhere(JSON.parse(example)), example).not.toThrow()
})

test('there is an example of every comparator and every kind of condition', () => {
  const all = [...blocks, ...inline].join('\n')
  for (const name of [
    ...COMPARATOR_NAMES,
    'count',
    'within',
    'where',
    'sum',
    'avg',
    'min',
    'max',
    'distinct',
    'first',
    'last',
    'not',
    'any',
    'all',
  ]) {
    expect(all, name).toContain(`"${name}":`)
  }
})

test('the limits of the docs are those of the parser', () => {
  expect(text).toContain(`${LIMITS.conditions} conditions, ${LIMITS.depth} levels`)
  expect(text).toContain(`${LIMITS.characters / 1024} Ki characters`)
  for (const limit of [LIMITS.listItems, LIMITS.textCharacters, LIMITS.patternCharacters, LIMITS.windowedCount]) {
    expect(text).toContain(limit.toLocaleString('en-US'))
  }
})
