// The owner of a claimed log in the single cases that matter: what it does when a part, an answer, its claim or its time is lost.
import { describe, expect, test } from 'vitest'
import { VirtualClock } from '../../src/core/clock.ts'
import { TributaryError } from '../../src/core/errors.ts'
import { type Base, encodeClaim, encodeParts, RECORD_BYTES, type SharedLog } from '../../src/log/claimed.ts'
import { ClaimedLog } from '../../src/log/claimed-log.ts'
import { type Fate, UnreliableLog } from './unreliable-log.ts'

const TIMING = { waitMs: 50, repeatMs: 40, retryMs: 10, freshMs: 150 }
const GOOD: Fate = { arrivals: 1, isAnswered: true }
const LOST: Fate = { arrivals: 0, isAnswered: false }
const UNANSWERED: Fate = { arrivals: 1, isAnswered: false }
const NOTHING: Base = { claim: 0, n: 0 }

/** A log that does at once what `fates` say, one append after the other, and then nothing wrong. */
class Bench {
  readonly clock = new VirtualClock()
  readonly fates: Fate[] = []
  readonly log = new UnreliableLog({ schedule: (_, run) => queueMicrotask(run), fate: () => this.fates.shift() ?? GOOD })
  readonly lost: Error[] = []
  appends = 0

  owner(name: string, around: (log: SharedLog) => SharedLog = (log) => log): ClaimedLog {
    const log = this.log.connect({ schedule: (_, run) => queueMicrotask(run), clock: this.clock })
    const counting: SharedLog = {
      ...log,
      append: (payload) => {
        this.appends++
        return log.append(payload)
      },
    }
    return new ClaimedLog({ log: around(counting), owner: name, clock: this.clock, timing: TIMING })
  }

  async open(owner: ClaimedLog, from = 0, base = NOTHING): Promise<{ base: Base; visited: string[] }> {
    const visited: string[] = []
    const opening = owner.open({
      from,
      base,
      visit: (_, payload) => void visited.push(payload.toString()),
      lost: (error) => this.lost.push(error),
    })
    return { base: await this.while(opening), visited }
  }

  /** Time passes until the work is done. */
  async while<T>(work: Promise<T>): Promise<T> {
    let isDone = false
    const done = work.finally(() => {
      isDone = true
    })
    done.catch(() => undefined)
    for (let i = 0; i < 500 && !isDone; i++) await this.pass(1)
    if (!isDone) throw new Error('it is never done')
    return done
  }

  async pass(ms: number): Promise<void> {
    for (let i = 0; i < ms; i++) {
      this.clock.advance(1)
      await new Promise(setImmediate)
    }
  }
}

/** Reads whose answers stay away until they are let go. */
class HeldReads {
  isHolding = false
  #letGo: (() => void)[] = []

  around(log: SharedLog): SharedLog {
    return {
      ...log,
      read: async (from, limits) => {
        const page = await log.read(from, limits)
        if (this.isHolding) await new Promise<void>((go) => this.#letGo.push(go))
        return page
      },
    }
  }

  release(): void {
    this.isHolding = false
    for (const go of this.#letGo.splice(0)) go()
  }
}

describe('an owner', () => {
  test('repeats its claim and its commits until it reads them, and tells each once', async () => {
    const bench = new Bench()
    bench.fates.push(LOST, UNANSWERED, GOOD, LOST, LOST, { arrivals: 3, isAnswered: false })
    const owner = bench.owner('a')
    expect((await bench.open(owner)).base).toEqual({ claim: 1, n: 0 })
    const first = await bench.while(owner.commit(Buffer.from('one')))
    const second = await bench.while(owner.commit(Buffer.from('two')))
    expect(second).toBeGreaterThan(first)
    const next = bench.owner('b')
    expect((await bench.open(next)).visited).toEqual(['one', 'two'])
    expect(bench.lost.map((e) => (e as { code?: string }).code)).toEqual(['fenced'])
  })

  test('repeats of a commit in parts only what is missing, and nothing while parts come back', async () => {
    const bench = new Bench()
    const owner = bench.owner('a')
    await bench.open(owner)
    const payload = Buffer.alloc(3 * RECORD_BYTES + 1, 'x')
    const parts = encodeParts(payload, { claim: 1, n: 0 }).length
    expect(parts).toBe(4)
    bench.fates.push(GOOD, GOOD, { ...LOST, isAnswered: false })
    const before = bench.appends
    await bench.while(owner.commit(payload))
    // Two, the lost one, and from that one on again.
    expect(bench.appends - before).toBe(3 + 2)
    expect((await bench.open(bench.owner('b'))).visited).toEqual([payload.toString()])
  })

  test('that is overtaken while it claims, claims again: the last one owns', async () => {
    const bench = new Bench()
    // Its claim is on its way when another one arrives.
    let isFirst = true
    const slow = bench.owner('slow', (log) => ({
      ...log,
      append: async (payload) => {
        if (isFirst) {
          isFirst = false
          await bench.open(bench.owner('fast'))
        }
        return log.append(payload)
      },
    }))
    expect((await bench.open(slow)).base).toEqual({ claim: 2, n: 0 })
    await bench.pass(60)
    // The claim that was on its way came last, and changed nothing.
    expect(bench.log.records).toHaveLength(3)
    expect(bench.lost.map((e) => e.message)).toEqual(['slow has claimed the journal of fast'])
    expect(slow.phase).toBe('owning')
  })

  test('is not fenced by a late claim of somebody who is gone', async () => {
    const bench = new Bench()
    const owner = bench.owner('a')
    await bench.open(owner)
    const stranger = bench.log.connect({ schedule: (_, run) => queueMicrotask(run), clock: bench.clock })
    await stranger.append(encodeClaim({ previous: 0, owner: 'gone' }))
    await stranger.append(encodeClaim({ previous: 0, owner: 'a' }))
    await bench.while(owner.commit(Buffer.from('one')))
    expect(owner.phase).toBe('owning')
    expect(bench.lost).toEqual([])
  })

  test('knows that it owns only while it reads', async () => {
    const bench = new Bench()
    let isReachable = true
    const owner = bench.owner('a', (log) => ({
      ...log,
      read: (from, limits) => (isReachable ? log.read(from, limits) : Promise.reject(new Error('unreachable'))),
    }))
    await bench.open(owner)
    expect(owner.owned()).toBeUndefined()
    await bench.pass(10 * TIMING.freshMs)
    // Idle as it is, its reads find the end.
    expect(owner.owned()).toBeUndefined()
    isReachable = false
    await bench.pass(TIMING.freshMs + TIMING.waitMs + 1)
    const stale = owner.owned()
    expect(stale).toBeDefined()
    // Whoever hands out ownership vouches for it meanwhile.
    owner.heartbeat(bench.clock.monotonicMs())
    await stale
    expect(owner.owned()).toBeUndefined()
    await bench.pass(TIMING.freshMs)
    const again = owner.owned()
    expect(again).toBeDefined()
    isReachable = true
    await bench.while(again ?? Promise.reject())
    expect(owner.owned()).toBeUndefined()
    // Fresh is not yet certain: that takes a read which is begun from now on.
    await bench.while(owner.verify())
    const next = bench.open(bench.owner('b'))
    await expect(bench.while(Promise.all([next, bench.pass(60)]).then(() => owner.verify()))).rejects.toMatchObject({ code: 'fenced' })
  })

  test.each(Array.from({ length: 10 }, (_, i) => i))(
    'that commits %i microtasks after a newer claim came is as good as fenced',
    async (microtasks) => {
      const bench = new Bench()
      const held = new HeldReads()
      const stale = bench.owner('a', (log) => held.around(log))
      await bench.open(stale)
      held.isHolding = true
      const newer = bench.owner('b')
      await bench.open(newer)
      held.release()
      for (let i = 0; i < microtasks; i++) await undefined
      stale.commit(Buffer.from('of the stale')).catch(() => undefined)
      await bench.pass(60)
      await bench.while(newer.commit(Buffer.from('of the newer')))
      expect((await bench.open(bench.owner('c'))).visited).toEqual(['of the newer'])
    },
  )

  test('that is closed or fenced rejects what waits and what comes', async () => {
    const bench = new Bench()
    const owner = bench.owner('a')
    await bench.open(owner)
    bench.fates.push(...Array.from({ length: 5 }, () => LOST))
    const commit = owner.commit(Buffer.from('never'))
    await owner.close()
    await expect(commit).rejects.toMatchObject({ code: 'shutting_down' })
    await expect(owner.commit(Buffer.from('later'))).rejects.toMatchObject({ code: 'shutting_down' })
    await expect(owner.owned()).rejects.toMatchObject({ code: 'shutting_down' })
    expect(bench.lost).toEqual([])
    bench.fates.length = 0
    const [second, third] = [bench.owner('b'), bench.owner('c')]
    await bench.open(second)
    await bench.open(third)
    await bench.pass(60)
    await expect(second.commit(Buffer.from('late'))).rejects.toMatchObject({ code: 'fenced' })
    await expect(second.owned()).rejects.toMatchObject({ code: 'fenced' })
    expect(bench.lost).toHaveLength(1)
  })
})

describe('a log that has lost its head', () => {
  /** Commits of two owners, from the third on with a start; and what is left of them from `first` on. */
  async function cutAt(first: number): Promise<{ bench: Bench; cut: (log: SharedLog) => SharedLog }> {
    const bench = new Bench()
    const a = bench.owner('a')
    await bench.open(a)
    for (const text of ['one', 'two']) await bench.while(a.commit(Buffer.from(text)))
    const b = bench.owner('b')
    const base = { ...(await bench.open(b)).base, n: 3 }
    const from = 1 + (await bench.while(b.commit(Buffer.from('three'))))
    for (const text of ['four', 'five']) await bench.while(b.commit(Buffer.from(text), { from, ...base }))
    const gone = new Error('gone')
    const cut = (log: SharedLog): SharedLog => ({
      ...log,
      first: async () => first,
      read: (at, limits) => (at < first ? Promise.reject(gone) : log.read(at, limits)),
    })
    return { bench, cut }
  }

  test('is read from the first start that is left, by who knows nothing of it', async () => {
    // 0: claim, 1: one, 2: two, 3: claim, 4: three, 5: four
    for (const first of [2, 3, 4, 5]) {
      const { bench, cut } = await cutAt(first)
      const opened = await openBlank(bench, bench.owner('c', cut))
      expect(opened).toEqual({ base: { claim: 8, n: 5 }, visited: ['four', 'five'] })
    }
    const { bench, cut } = await cutAt(0)
    expect((await openBlank(bench, bench.owner('c', cut))).visited).toEqual(['one', 'two', 'three', 'four', 'five'])
  })

  test('and every start with it, is refused', async () => {
    const { bench, cut } = await cutAt(6)
    await expect(openBlank(bench, bench.owner('c', cut))).rejects.toMatchObject({ code: 'data_corrupt' })
  })
})

/** Opens with nothing known. */
async function openBlank(bench: Bench, owner: ClaimedLog): Promise<{ base: Base; visited: string[] }> {
  const visited: string[] = []
  const visit = (_: number, payload: Buffer): void => void visited.push(payload.toString())
  return { base: await bench.while(owner.open({ from: 0, base: undefined, visit, lost: (error) => bench.lost.push(error) })), visited }
}

describe('a log that can not be the one that was read', () => {
  test('since it begins behind, or ends before, what is to be read, is refused', async () => {
    const bench = new Bench()
    const owner = bench.owner('a')
    await bench.open(owner)
    const position = await bench.while(owner.commit(Buffer.from('one')))
    const base = { claim: 1, n: 1 }
    const cut = bench.owner('b', (log) => ({ ...log, first: async () => position + 2 }))
    await expect(bench.open(cut, position + 1, base)).rejects.toMatchObject({ code: 'journal_cut' })
    await expect(bench.open(bench.owner('c'), position + 2, base)).rejects.toMatchObject({ code: 'data_corrupt' })
    expect((await bench.open(bench.owner('d'), position + 1, base)).visited).toEqual([])
  })

  test('since it was cut while it was being read, is refused', async () => {
    const bench = new Bench()
    await bench.open(bench.owner('a'))
    const head = { first: 0 }
    const read: SharedLog['read'] = async () => {
      head.first = 1
      throw new TributaryError('data_corrupt', 'no longer kept')
    }
    const cut = bench.owner('b', (log) => ({ ...log, first: async () => head.first, read }))
    await expect(bench.open(cut)).rejects.toMatchObject({ code: 'journal_cut' })
  })

  test('since a record is none of ours, stops its owner', async () => {
    const bench = new Bench()
    await bench.open(bench.owner('a'))
    const stranger = bench.log.connect({ schedule: (_, run) => queueMicrotask(run), clock: bench.clock })
    await stranger.append(Buffer.from([9, 9]))
    await bench.pass(60)
    expect(bench.lost).toMatchObject([{ code: 'data_corrupt' }])
    await expect(bench.open(bench.owner('b'))).rejects.toMatchObject({ code: 'data_corrupt' })
  })
})
