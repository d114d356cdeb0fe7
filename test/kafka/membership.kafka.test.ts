// The membership on a real broker: members as processes that join, leave, are killed and stand still.
import { type ChildProcess, spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterEach, beforeEach, expect, inject, test } from 'vitest'
import { KafkaMembership } from '../../src/log/kafka-membership.ts'
import type { KafkaSettings } from '../../src/log/kafka-settings.ts'
import { clock, freshSettings, madeTopics, openedLog, until } from './world.ts'

const PARTITIONS = 8
// A machine that is busy must not make a member late.
const SESSION_MS = 5000

interface Told {
  readonly what: 'assigned' | 'revoked' | 'lost' | 'failed'
  readonly detail: readonly number[]
}

interface MemberProcess {
  readonly child: ChildProcess
  readonly told: Told[]
  /** What it has, by what it was told. */
  owned(): number[]
}

let settings: KafkaSettings
let members: MemberProcess[]

beforeEach(async () => {
  settings = freshSettings()
  members = []
  await madeTopics(settings, ['events', 'exchange', 'journal'], PARTITIONS)
})
afterEach(async () => {
  for (const m of members) m.child.kill('SIGKILL')
  await until(() => members.every((m) => m.child.exitCode !== null || m.child.signalCode !== null))
})

function started(): MemberProcess {
  const args = [join(import.meta.dirname, 'member.ts'), inject('kafka'), settings.prefix, String(PARTITIONS), String(SESSION_MS)]
  const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] })
  const told: Told[] = []
  createInterface({ input: child.stdout }).on('line', (line) => told.push(JSON.parse(line) as Told))
  const member = { child, told, owned: () => replayed(told) }
  members.push(member)
  return member
}

/** Nothing is told assigned twice, nor taken that was not there. */
function replayed(told: readonly Told[]): number[] {
  const owned = new Set<number>()
  for (const { what, detail } of told) {
    expect(what).not.toBe('failed')
    for (const p of detail) {
      expect(owned.has(p)).toBe(what !== 'assigned')
      if (what === 'assigned') owned.add(p)
      else owned.delete(p)
    }
  }
  return [...owned].sort((a, b) => a - b)
}

const ALL = Array.from({ length: PARTITIONS }, (_, p) => p)
const together = (...of: MemberProcess[]): number[] => of.flatMap((m) => m.owned()).sort((a, b) => a - b)
const share = (m: MemberProcess): number => m.owned().length
const isShared = (shares: readonly number[], ...of: MemberProcess[]): boolean =>
  String(together(...of)) === String(ALL) && String(of.map(share).sort()) === String(shares)

test('members that join take what they must, and nothing else moves; one that leaves gives it back', { timeout: 40_000 }, async () => {
  const first = started()
  await until(() => isShared([8], first))
  const second = started()
  await until(() => isShared([4, 4], first, second))
  const kept = first.owned()
  expect(first.told.map((t) => t.what)).toEqual(['assigned', 'revoked'])
  const third = started()
  await until(() => isShared([2, 3, 3], first, second, third))
  expect(first.owned().every((p) => kept.includes(p))).toBe(true)
  second.child.stdin?.end()
  await until(() => isShared([4, 4], first, third))
  await until(() => second.child.exitCode === 0)
  expect(second.owned()).toEqual([])
  expect([first, second, third].flatMap((m) => m.told.filter((t) => t.what === 'lost'))).toEqual([])
})

test('what a killed member had goes to the others once its session has ended', { timeout: 40_000 }, async () => {
  const [first, second] = [started(), started()]
  await until(() => isShared([4, 4], first, second))
  const kept = first.owned()
  second.child.kill('SIGKILL')
  await until(() => isShared([8], first))
  expect(first.told.filter((t) => t.what !== 'assigned' && t.detail.some((p) => kept.includes(p)))).toEqual([])
})

test('a member that stood still learns that it has lost everything, and joins again without taking anything back', {
  timeout: 40_000,
}, async () => {
  const [first, second] = [started(), started()]
  await until(() => isShared([4, 4], first, second))
  const had = second.owned()
  const before = second.told.length
  second.child.kill('SIGSTOP')
  await until(() => isShared([8], first))
  const firstHad = first.told.length
  second.child.kill('SIGCONT')
  await until(() => second.told.length > before)
  expect(second.told[before]).toEqual({ what: 'lost', detail: had })
  await until(() => isShared([4, 4], first, second))
  // What the other gave up is all that moved: what the one come back still claimed took nothing from it.
  const revoked = first.told.slice(firstHad)
  expect(revoked.map((t) => [t.what, t.detail.length])).toEqual([['revoked', 4]])
})

test('no record comes through the group, heartbeats are heard, and a member that closes is told so', { timeout: 40_000 }, async () => {
  const log = await openedLog({ settings, kind: 'events', partitions: PARTITIONS })
  const told: [string, readonly number[]][] = []
  const note = (what: string) => (partitions: readonly number[]) => void told.push([what, partitions])
  const failures: Error[] = []
  const listener = { assigned: note('assigned'), revoked: note('revoked'), lost: note('lost'), failed: (e: Error) => void failures.push(e) }
  const membership = new KafkaMembership({ settings, clock, partitions: PARTITIONS, listener, sessionMs: SESSION_MS })
  await membership.open()
  await until(() => membership.owned.length === PARTITIONS)
  for (let i = 0; i < 40; i++) await log.append(i % PARTITIONS, Buffer.from('not for the group'))
  for (let beats = 0; beats < 3; beats++) {
    const heard = membership.heardMs
    await until(() => membership.heardMs > heard)
    expect(membership.heardMs).toBeLessThanOrEqual(clock.monotonicMs())
  }
  await membership.close()
  expect(told).toEqual([
    ['assigned', ALL],
    ['revoked', ALL],
  ])
  expect(failures).toEqual([])
  await log.close()
})
