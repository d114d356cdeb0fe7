// The comparison itself, with scripts in place of both systems that print what the real ones print.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { calibrationMs, measure, printed, rounded, spreadOf } from '../../bench/report.ts'
import { compareRuns, type Options, ourRun, peerRun, readOptions, sideBySide, table } from '../../bench/side-by-side.ts'

const dir = mkdtempSync(join(tmpdir(), 'side-by-side-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

const CALLS = join(dir, 'calls')
const NOTE = `import { appendFileSync } from 'node:fs'
const note = (who) => appendFileSync(${JSON.stringify(CALLS)}, JSON.stringify([who, ...process.argv.slice(2), process.env.BOOTSTRAP ?? null]) + '\\n')
`

function options(): Options {
  writeFileSync(
    join(dir, 'ours.mjs'),
    `${NOTE}note('ours')\nconsole.log('{"name":"preload","events":100,"eventsPerSecond":5000,"cpuUsPerEvent":20,"rssMB":300}')\n`,
  )
  writeFileSync(
    join(dir, 'bench.mjs'),
    `${NOTE}note('peer')\nconsole.log('{"kind":"preload","perSec":2500,"appCpuUs":40,"brokerCpuUs":10,"appRssMb":1200}')\n`,
  )
  return {
    ...readOptions([
      '--peer',
      dir,
      '--peer-build',
      'B',
      '--peer-work',
      dir,
      '--bootstrap',
      'host:1',
      '--events',
      '100',
      '--users',
      '10',
      '--runs',
      '2',
    ]),
    ours: `${process.execPath} ${join(dir, 'ours.mjs')}`,
  }
}

test('both run in turn on the same events, and the order changes', () => {
  const said: string[] = []
  const rows = sideBySide(options(), (line) => said.push(line))
  const calls = readFileSync(CALLS, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as string[])
  expect(calls.map((c) => c[0])).toEqual(['ours', 'peer', 'peer', 'ours'])
  const [ours = [], peer = []] = calls
  expect(ours.slice(1, 8)).toEqual(['--json', '--n', '100', '--users', '10', '--segments', '50'])
  const events = join(dir, 'side-100-10.ndjson')
  expect(peer).toEqual(expect.arrayContaining(['preload', `file=${events}`, `segments=${join(dir, 'segments-50.json')}`, 'threads=2']))
  expect(peer.at(-1)).toBe('host:1')
  expect(readFileSync(events, 'utf8').trim().split('\n').length).toBe(100)
  expect(said.length).toBe(4)
  expect(rows.map((r) => [r.metric, r.ratio.median])).toEqual([
    ['eventsPerSecond', 2],
    ['cpuUsPerEvent', 0.5],
    ['allCpuUsPerEvent', 0.4],
    ['rssMB', 0.25],
  ])
})

describe('reading results', () => {
  test('the last result counts, other lines don’t', () => {
    const output =
      'hello\n{"name":"a","eventsPerSecond":1,"cpuUsPerEvent":2,"rssMB":3}\n{"name":"b","eventsPerSecond":4,"cpuUsPerEvent":5,"rssMB":6}\n{"ok":true}\n'
    expect(ourRun(output)).toEqual({ eventsPerSecond: 4, cpuUsPerEvent: 5, allCpuUsPerEvent: 5, rssMB: 6 })
  })

  test('a broker that wasn’t measured costs nothing', () => {
    expect(peerRun('{"kind":"preload","perSec":1,"appCpuUs":2,"appRssMb":3}')).toMatchObject({ allCpuUsPerEvent: 2 })
  })

  test('a missing result or figure is an error, not a zero', () => {
    expect(() => ourRun('')).toThrow(/no result/)
    expect(() => ourRun('{"cpuUsPerEvent":1}')).toThrow(/no number eventsPerSecond/)
    expect(() => peerRun('{"kind":"openloop"}')).toThrow(/no result/)
  })

  test('options are checked', () => {
    expect(() => readOptions([])).toThrow(/--peer is missing/)
    const all = ['--peer', 'P', '--peer-build', 'B', '--peer-work', 'W', '--bootstrap', 'H']
    expect(() => readOptions([...all, '--runs', 'two'])).toThrow(/--runs takes/)
    expect(readOptions(all)).toMatchObject({ events: 1_000_000, segments: 50, runs: 3, threads: 2, brokerPid: undefined })
  })
})

describe('figures', () => {
  test('ratios are taken round by round', () => {
    const run = (x: number) => ({ eventsPerSecond: x, cpuUsPerEvent: x, allCpuUsPerEvent: x, rssMB: x })
    const [row] = compareRuns([run(1), run(4), run(9)], [run(1), run(2), run(3)])
    expect(row).toMatchObject({ ours: { median: 4, min: 1, max: 9 }, peer: { median: 2 }, ratio: { median: 2, min: 1, max: 3 } })
    expect(table(row ? [row] : [])).toContain('| eventsPerSecond | 4 (1-9) | 2 (1-3) | 2 (1-3) |')
  })

  test('a spread of an even number of values lies between the middle two', () => {
    expect(spreadOf([4, 1, 3, 2])).toEqual({ median: 2.5, min: 1, max: 4 })
  })

  test('no more digits than were measured', () => {
    expect([rounded(1234.5), rounded(12.345), rounded(0.012345)]).toEqual([1235, 12.3, 0.0123])
  })

  test('a measurement has CPU beside its rate', () => {
    const end = measure('calibration')
    const ms = calibrationMs()
    const result = end(1000, { hash: 'abc' })
    expect(result).toMatchObject({ name: 'calibration', events: 1000, hash: 'abc' })
    expect(result.cpuUsPerEvent).toBeGreaterThanOrEqual(ms * 0.9)
    expect(result.eventsPerSecond).toBeGreaterThan(0)
    expect(JSON.parse(printed(result, true))).toEqual(result)
    expect(printed(result, false)).toMatch(/^calibration: events 1,000 · eventsPerSecond /)
  })
})
