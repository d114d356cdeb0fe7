import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ERRORS } from '../../src/core/errors.ts'

test('docs/errors.md lists every code with its status and hint', () => {
  const docs = readFileSync(join(import.meta.dirname, '../../docs/errors.md'), 'utf8')
  const documented = docs.split('\n').filter((line) => line.startsWith('| `'))
  expect(documented).toEqual(Object.entries(ERRORS).map(([code, { status, hint }]) => `| \`${code}\` | ${status} | ${hint} |`))
})
