// What counts in a log of unreliable appends: the same for everybody, for ever, and nothing of it by an owner that isn't one.
import { describe, expect, test } from 'vitest'
import { Reader } from '../../src/core/bytes.ts'
import { systemClock } from '../../src/core/clock.ts'
import { ClaimedReader, Counting, encodeParts, RECORD_BYTES, type SharedLog, type SharedRecord } from '../../src/log/claimed.ts'
import { ClaimedLog, type ClaimOptions } from '../../src/log/claimed-log.ts'
import { seedsOf } from '../identity/random.ts'
import { type MakeOwner, type Owner, textOf, World } from './claimed-world.ts'

const STEPS = 600
const SEEDS = seedsOf(80)

interface Commit {
  readonly position: number
  readonly claim: number
  readonly n: number
  readonly payload: string
}

/** The rule once more, by looking back from each record instead of keeping account. */
function countedNaively(records: readonly SharedRecord[]): Commit[] {
  const read = records.map(({ payload }) => {
    const r = new Reader(payload)
    r.u8()
    if (r.u8() === 1) return { t: 'claim' as const, previous: r.varint(), counts: false }
    return {
      t: 'part' as const,
      claim: r.varint(),
      n: r.varint(),
      part: r.varint(),
      parts: r.varint(),
      rest: r.raw(r.end - r.at),
      counts: false,
    }
  })
  const commits: Commit[] = []
  for (const [at, record] of read.entries()) {
    const before = read.slice(0, at).filter((r) => r.counts)
    const claim = read.slice(0, at).findLastIndex((r) => r.t === 'claim' && r.counts) + 1
    if (record.t === 'claim') {
      record.counts = record.previous === claim
      continue
    }
    const own = before.filter((r) => r.t === 'part' && r.claim === claim && r.n === record.n)
    record.counts = record.claim === claim && record.n === commits.length + 1 && record.part === own.length
    if (!record.counts || record.part + 1 < record.parts) continue
    const first = record.part === 0 ? record : own[0]
    commits.push({ position: at, claim, n: record.n, payload: first?.t === 'part' ? textOf(first.rest) : '' })
  }
  return commits
}

const frozen = (records: readonly SharedRecord[]): SharedLog => ({
  first: async () => 0,
  append: async () => undefined,
  read: async (from, { maxRecords }) => ({ records: records.slice(from, from + maxRecords), end: records.length }),
  close: async () => undefined,
})

async function countedFrom(records: readonly SharedRecord[], from: number, base: { claim: number; n: number }): Promise<Commit[]> {
  const options = { log: frozen(records), clock: systemClock, retryMs: 1, troubled: () => {}, isStopped: () => false }
  const reader = new ClaimedReader(options, from, base)
  const commits: Commit[] = []
  while (!reader.isCaughtUp) {
    for (const c of await reader.next(0))
      if (c.t === 'commit') commits.push({ position: c.position, claim: -1, n: c.n, payload: textOf(c.payload) })
  }
  return commits
}

const payloads = (commits: readonly Commit[]): string[] => commits.map((c) => c.payload)

/** What was told durable counts, where it was said to be. */
function judgeTold(world: World, counted: readonly Commit[]): void {
  for (const { position, payload } of world.told) {
    const commit = counted.find((c) => c.payload === payload)
    expect(commit, `${payload} was told durable`).toBeDefined()
    if (position >= 0) expect(commit?.position).toBe(position)
  }
}

/** Everything that must hold of a world, whatever happened in it. */
async function judge(world: World): Promise<void> {
  const { records } = world.log
  const counted = countedNaively(records)
  expect(world.unexpected).toEqual([])
  // Every reader, wherever it began, and at every prefix.
  const begin = { claim: 0, n: 0 }
  for (const end of [records.length, Math.floor(records.length / 2), Math.floor(records.length / 3)]) {
    const prefix = records.slice(0, end)
    expect(payloads(await countedFrom(prefix, 0, begin))).toEqual(payloads(counted.filter((c) => c.position < end)))
  }
  for (const c of counted.filter((_, i) => i % 5 === 0)) {
    expect(payloads(await countedFrom(records, c.position + 1, c))).toEqual(payloads(counted.slice(c.n)))
  }
  // No commit is lost or counts twice, and no two owners' commits mix.
  const owners: string[] = []
  for (const { payload } of counted) {
    const [, owner = '', k = ''] = /^(owner \d+) (\d+)$/.exec(payload) ?? []
    if (owners.at(-1) !== owner) {
      expect(owners).not.toContain(owner)
      owners.push(owner)
      expect(k).toBe('1')
    } else expect(payloads(counted)).toContain(`${owner} ${Number(k) - 1}`)
  }
  expect(new Set(payloads(counted)).size).toBe(counted.length)
  judgeTold(world, counted)
  // Whoever became owner had read all that counted before its own.
  for (const { owner, base, visited } of world.tenures) {
    if (!base) continue
    expect(visited, owner).toEqual(payloads(counted).slice(0, base.n))
    const own = counted.findIndex((c) => c.payload === `${owner} 1`)
    if (own >= 0) expect(own).toBe(base.n)
  }
}

async function world(seed: number, make?: MakeOwner): Promise<World> {
  const w = new World(seed, make)
  await w.run(STEPS)
  return w
}

async function settledWorld(seed: number): Promise<World> {
  const w = await world(seed)
  await w.settle()
  return w
}

describe('owners that take over from one another on an unreliable log', () => {
  test(`agree on what counts, and lose nothing that was told durable (${SEEDS} seeds)`, async () => {
    let [told, owners, fenced, ignored] = [0, 0, 0, 0]
    for (let seed = 1; seed <= SEEDS; seed++) {
      const w = await settledWorld(seed)
      await judge(w).catch((error: Error) => {
        throw new Error(`seed ${seed}: ${error.message}`, { cause: error })
      })
      told += w.told.length
      owners += w.tenures.filter((t) => t.base).length
      fenced += w.tenures.filter((t) => t.base && t.end).length
      ignored += w.log.records.length - countedNaively(w.log.records).length
    }
    // The worlds are worth something: each has several owners, most of them fenced by the next, and much that must not count.
    expect(owners).toBeGreaterThan(3 * SEEDS)
    expect(fenced).toBeGreaterThan(SEEDS)
    expect(told).toBeGreaterThan(5 * SEEDS)
    expect(ignored).toBeGreaterThan(10 * SEEDS)
    console.info(`${SEEDS} seeds: ${owners} owners, ${fenced} fenced, ${told} commits told durable, ${ignored} records that are no commits`)
  })

  test('a world is the same each time', async () => {
    const [a, b] = [await settledWorld(7), await settledWorld(7)]
    expect(a.log.records.map((r) => r.payload.toString('base64'))).toEqual(b.log.records.map((r) => r.payload.toString('base64')))
    expect(a.told).toEqual(b.told)
  })
})

/** Takes an answer for the truth. */
class Trusting implements Owner {
  readonly #options: ClaimOptions
  #base = { claim: 0, n: 0 }

  constructor(options: ClaimOptions) {
    this.#options = options
  }

  async open(opening: Parameters<Owner['open']>[0]): Promise<{ claim: number; n: number }> {
    const { log } = this.#options
    const claimed = new ClaimedLog({ ...this.#options, log: { ...log, close: async () => undefined } })
    this.#base = await claimed.open(opening)
    await claimed.close()
    return this.#base
  }

  async commit(payload: Uint8Array): Promise<number> {
    for (const record of encodeParts(payload, this.#base)) while (!(await this.#isAnswered(record)));
    this.#base = { ...this.#base, n: this.#base.n + 1 }
    return -1
  }

  #isAnswered(record: Buffer): Promise<boolean> {
    return this.#options.log.append(record).then(
      () => true,
      () => false,
    )
  }
}

const isClaim = (record: SharedRecord): boolean => record.payload[1] === 1

/** Does not see that others claim, once it owns the log. */
const ignoring: MakeOwner = (options) => {
  let isOwner = false
  const read: SharedLog['read'] = async (from, limits) => {
    const page = await options.log.read(from, limits)
    return { ...page, records: page.records.filter((r) => !(isOwner && isClaim(r))) }
  }
  const claimed = new ClaimedLog({ ...options, log: { ...options.log, read } })
  return {
    async open(opening) {
      const base = await claimed.open(opening)
      isOwner = true
      return base
    },
    commit: (payload) => claimed.commit(payload),
  }
}

/** Gives a repeat other bytes. */
const changing: MakeOwner = (options) => {
  let repeats = 0
  const append = (payload: Uint8Array): Promise<void> => {
    const changed = Buffer.from(payload)
    const at = changed.indexOf('\n')
    if (at > 0 && repeats++ % 3 === 2) changed[at - 1] = 0x78
    return options.log.append(changed)
  }
  return new ClaimedLog({ ...options, log: { ...options.log, append } })
}

describe('an owner', () => {
  test.each<[string, MakeOwner, boolean]>([
    ['that trusts an answer is found out', (options) => new Trusting(options), true],
    ['that ignores a newer claim is found out', ignoring, true],
    ['that changes the bytes of a repeat is found out', changing, true],
    ['as it should be is not', (options) => new ClaimedLog(options), false],
  ])('%s, by what it told durable', async (_, make, isWrong) => {
    let found = 0
    for (let seed = 1; seed <= 30; seed++) {
      const w = await world(seed, make)
      try {
        judgeTold(w, countedNaively(w.log.records))
      } catch (error) {
        expect((error as Error).message).toMatch(/was told durable/)
        found++
      }
    }
    if (isWrong) expect(found).toBeGreaterThan(5)
    else expect(found).toBe(0)
  })
})

test('no record is larger than the limit, and the parts are the payload', () => {
  const most = Number.MAX_SAFE_INTEGER
  const base = { claim: most, n: most - 1 }
  for (const [start, headBytes] of [[undefined, 34] as const, [{ from: most, claim: most, n: most }, 58] as const]) {
    for (const size of [0, 1, RECORD_BYTES - headBytes, RECORD_BYTES - headBytes + 1, 3 * RECORD_BYTES]) {
      const payload = Buffer.alloc(size, 7)
      const records = encodeParts(payload, base, start)
      for (const record of records) expect(record.length).toBeLessThanOrEqual(RECORD_BYTES)
      expect(records.length).toBe(Math.max(1, Math.ceil(size / (RECORD_BYTES - headBytes))))
      const counting = new Counting(base)
      const [last] = records.map((record, position) => counting.take({ position, payload: record })).slice(-1)
      expect(last?.t === 'commit' && last.payload.equals(payload)).toBe(true)
    }
  }
})
