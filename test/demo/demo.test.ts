// The demo as a stranger runs it, on its first days: its figures equal a plain count over the file of orders.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { readDefinitions } from '../../src/cli/definition-files.ts'

const EXAMPLE = join(import.meta.dirname, '../../examples/online-retail')
const DAY_MS = 86_400_000
const START_MS = Date.parse('2010-12-01')

let tmp: string
beforeEach(() => {
  tmp = mkdtempSync(join(tmpdir(), 'demo-test-'))
})
afterEach(() => rmSync(tmp, { recursive: true, force: true }))

interface Order {
  readonly event: string
  readonly timestamp: string
  readonly userId?: string
  readonly anonymousId?: string
  readonly properties: { readonly total: number; readonly country: string }
}

function ordersOf(days: number): Order[] {
  const text = gunzipSync(readFileSync(join(EXAMPLE, 'orders.ndjson.gz'))).toString()
  const all = text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Order)
  return all.filter((o) => Date.parse(o.timestamp) < START_MS + days * DAY_MS)
}

function runDemo(...argv: string[]) {
  const child = spawn(process.execPath, [join(EXAMPLE, 'demo.ts'), ...argv], {
    env: { ...process.env, TMPDIR: tmp },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const run = { child, out: '', err: '', exited: once(child, 'exit') as Promise<[number | null, string | null]> }
  child.stdout.on('data', (chunk) => {
    run.out += chunk
  })
  child.stderr.on('data', (chunk) => {
    run.err += chunk
  })
  return run
}

test('plays some days, and its figures are right', async () => {
  const days = 5
  const demo = runDemo('--seconds', '0', '--days', String(days), '--exit')
  expect(await demo.exited).toEqual([0, null])
  expect(demo.err).toBe('')
  const orders = ordersOf(days)
  const people = Map.groupBy(orders, (o) => o.userId ?? o.anonymousId ?? '')
  const bought = orders.filter((o) => o.event === 'Order Completed' && o.properties.total > 0)
  const who = (some: Order[]) => new Set(some.map((o) => o.userId ?? o.anonymousId)).size
  const spent = [...people.values()].map((own) => own.reduce((sum, o) => sum + o.properties.total, 0))
  const expected = {
    'recent-buyers': who(bought),
    'buyers-abroad': who(bought.filter((o) => o.properties.country !== 'United Kingdom')),
    'guest-orders': who(bought.filter((o) => o.userId === undefined)),
    'big-spenders': spent.filter((x) => x >= 2000).length,
    'returned-more-than-bought': spent.filter((x) => x < -0.001).length,
  }
  for (const [segment, size] of Object.entries(expected)) {
    expect(size, segment).toBeGreaterThan(0)
    expect(demo.out).toMatch(new RegExp(`^${segment} +${size} +\\d+ +live`, 'm'))
  }
  expect(demo.out).toContain(`${orders.length} orders and refunds · ${people.size} profiles · 0 merges`)
  expect(demo.out).toMatch(/^ {2}2010-12-0\d \d\d:\d\d {2}c-\d+ +▲ entered {2}\S+ +event or-\d+$/m)
  expect(readdirSync(tmp)).toEqual([])
})

test('Ctrl-C in the middle ends it cleanly', async () => {
  const demo = runDemo('--seconds', '600')
  while (!demo.out.includes('▲ entered') && demo.child.exitCode === null) await new Promise((resolve) => setTimeout(resolve, 50))
  demo.child.kill('SIGINT')
  expect(await demo.exited).toEqual([0, null])
  expect(demo.err).toBe('')
  expect(readdirSync(tmp)).toEqual([])
})

test('the definitions of the demo are valid and say in words what they hold', async () => {
  const definitions = await readDefinitions(join(EXAMPLE, 'segments'))
  expect(definitions.length).toBeGreaterThanOrEqual(8)
  for (const { id, name } of definitions) expect(name, id).toMatch(/^[A-Z].{10,}/)
})
