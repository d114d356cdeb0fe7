import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { lineDiff } from '../../src/cli/definition-diff.ts'
import { folder, type Live, listening, run } from './harness.ts'

let live: Live
let files: ReturnType<typeof folder>
beforeEach(async () => {
  live = await listening()
})
afterEach(async () => {
  await live.app.close()
  files?.remove()
})

const BUYERS = '{"name":"Buyers","where":{"event":"Order Completed","within":"30d"}}'
const apply = (...flags: string[]) => run(['segments', 'apply', files.dir, ...flags], { url: live.url })

describe('segments apply', () => {
  test('saves JSON and YAML under the ids of their files, and says so', async () => {
    files = folder({
      'buyers.json': BUYERS,
      'vips.yaml': 'id: very-important\nwhere:\n  event: Order Completed\n  sum: properties.total\n  gte: 1000\n',
      'notes.md': '',
    })
    const { code, out } = await apply('--yes')
    expect(code).toBe(0)
    expect(out).toContain('+ buyers  new')
    expect(out).toContain('+ very-important  new')
    expect([...live.engine.segmentsById.keys()].sort()).toEqual(['buyers', 'very-important'])
    expect(live.engine.segmentsById.get('buyers')).toMatchObject({ name: 'Buyers', where: { event: 'Order Completed', within: '30d' } })
  })

  test('what means the same is unchanged and saved no second time', async () => {
    files = folder({ 'buyers.json': BUYERS })
    await apply('--yes')
    files.remove()
    files = folder({ 'buyers.yaml': 'name: Buyers\nwhere: {within: 720h, event: [Order Completed], count: {gte: 1}}' })
    const { code, out } = await apply('--yes')
    expect(out).toContain('buyers  unchanged')
    expect(out).toContain('Nothing to change.')
    expect(code).toBe(0)
    expect(live.engine.segmentsById.get('buyers')?.version).toBe(1)
  })

  test('a change is shown line by line', async () => {
    files = folder({ 'buyers.json': BUYERS })
    await apply('--yes')
    files.remove()
    files = folder({ 'buyers.json': BUYERS.replace('30d', '60d') })
    const { out } = await apply('--yes')
    expect(out).toContain('~ buyers  changed')
    expect(out).toMatch(/ {4}- .*"within":"30d"/)
    expect(out).toMatch(/ {4}\+ .*"within":"60d"/)
    expect(live.engine.segmentsById.get('buyers')?.version).toBe(2)
  })

  test('deletes only with --prune', async () => {
    files = folder({ 'buyers.json': BUYERS })
    await live.engine.putSegment('old', { where: { event: 'X' } })
    expect((await apply('--yes')).out).toContain('old  only on the server; --prune deletes it')
    expect(live.engine.segmentsById.has('old')).toBe(true)
    expect((await apply('--yes', '--prune')).out).toContain('- old  will be deleted')
    expect([...live.engine.segmentsById.keys()]).toEqual(['buyers'])
  })

  test('without a terminal and without --yes nothing is changed', async () => {
    files = folder({ 'buyers.json': BUYERS })
    const { code, err } = await apply()
    expect(code).toBe(1)
    expect(err).toContain('Run it again with --yes.')
    expect(live.engine.segmentsById.size).toBe(0)
  })

  test('everything that is wrong is told at once, and nothing is applied', async () => {
    files = folder({ 'a.json': '{"where":{"evnt":"x"}}', 'b.json': '{', 'c.json': BUYERS, 'd.json': '{"id":"c","where":{"all":[]}}' })
    const { code, err } = await apply('--yes')
    expect(code).toBe(1)
    expect(err).toContain('3 definitions are not valid')
    expect(err).toContain('a.json: where: needs one of')
    expect(err).toContain('b.json: ')
    expect(err).toContain('d.json: the id c is that of c.json')
    expect(live.engine.segmentsById.size).toBe(0)
  })

  test('waits until all are live', async () => {
    files = folder({ 'buyers.json': BUYERS })
    const { engine } = live
    const segments = engine.segments.bind(engine)
    let asked = 0
    engine.segments = async () =>
      (await segments()).map((s) => (++asked < 3 ? { ...s, status: 'filling' as const, progress: 0.5 } : { ...s, size: 7 }))
    const { out } = await apply('--yes')
    expect(asked).toBeGreaterThanOrEqual(3)
    expect(out).toMatch(/buyers +7 +1 +live +Buyers/)
  })
})

test('segments list shows them, and says what to do when there are none', async () => {
  files = folder({})
  expect((await run(['segments', 'list'], { url: live.url })).out).toContain('segments apply DIR')
  await live.engine.putSegment('vip', { name: 'VIPs', where: { all: [] } })
  expect((await run(['segments', 'list'], { url: live.url })).out).toMatch(/vip +0 +1 +live +VIPs/)
  expect((await run(['segments', 'aply', 'x'], { url: live.url })).err).toContain('Did you mean apply?')
})

test('a diff keeps what is common', () => {
  expect(lineDiff(['a', 'b', 'c'], ['a', 'x', 'c', 'd'])).toEqual([
    [' ', 'a'],
    ['-', 'b'],
    ['+', 'x'],
    [' ', 'c'],
    ['+', 'd'],
  ])
})
