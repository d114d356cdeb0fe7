// The workload is the same bytes on every machine. The hashes below were made by another implementation of it, a peer's;
// with PEER=<its folder> in the environment, its generator is run and compared again.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { eventLines } from '../../bench/workload/events.ts'
import { generate } from '../../bench/workload/generate.ts'
import { linesOf } from '../../bench/workload/lines.ts'

const dir = mkdtempSync(join(tmpdir(), 'workload-'))
const out = join(dir, 'out')
afterAll(() => rmSync(dir, { recursive: true, force: true }))

const sha256 = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex')

const FILES: readonly [args: string, sha256: string][] = [
  ['events --n 2000 --users 500', '21d34a8ef732f887177ddacf46cde67bb0f3acdef5fa96d7a44d61888e339eb1'],
  [
    'events --n 2000 --users 700 --zipf 0.6 --seed 9 --span-ms 600000 --end 2026-07-01T00:00:00.000Z --cover',
    '948cdfb060e4dbe48f8aec48dd1a10fc3fe417144f4bd16bee2fccb093596e92',
  ],
  ['segments --n 50', '1b65067fcaf587da9784937bd6ab2f3de940ad056b904c724b721a81992e3daa'],
  ['segments --n 1000 --seed 3', 'd756a8cd7beb874d4df163cfa642e0702fc181fc30e7feb9c3f08495e67a23d3'],
]

test.each(FILES)('%s', (args, expected) => {
  const said = JSON.parse(generate([...args.split(' '), '--out', out])) as { bytes?: number }
  expect(sha256(out)).toBe(expected)
  if (said.bytes !== undefined) expect(said.bytes).toBe(readFileSync(out).length)
})

const peer = join(process.env.PEER ?? '', 'gen.mjs')

describe.skipIf(!process.env.PEER || !existsSync(peer))("equal to the peer's own", () => {
  test.each(FILES.map(([args]) => args))('%s', (args) => {
    generate([...args.split(' '), '--out', out])
    const theirs = join(dir, 'theirs')
    execFileSync(process.execPath, [peer, ...args.split(' '), '--out', theirs])
    expect(readFileSync(out).equals(readFileSync(theirs))).toBe(true)
  })
})

test('a file read back holds the lines that were generated, also across chunks', () => {
  const options = { n: 20_000, users: 3000 }
  generate(['events', '--n', '20000', '--users', '3000', '--out', out])
  expect(readFileSync(out).length).toBeGreaterThan(4 << 20)
  const generated = [...eventLines(options)]
  expect([...linesOf(out)]).toEqual(generated)
  expect(new Set(generated.map((line) => (JSON.parse(line) as { messageId: string }).messageId)).size).toBe(20_000)
})

test('what cannot be meant is refused', () => {
  expect(() => generate(['events', '--n', '10'])).toThrow(/usage/)
  expect(() => generate(['profiles', '--out', out])).toThrow(/usage/)
  expect(() => generate(['events', '--n', 'many', '--out', out])).toThrow(/takes a number/)
  expect(() => generate(['events', '--n', '10', '--users', '10', '--cover', '--out', out])).toThrow(/more events/)
})
