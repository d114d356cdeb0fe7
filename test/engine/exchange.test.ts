// The exchange over a topic that loses, repeats and reorders what processes say, while partitions move between them, also without the
// old owner's knowing: every message arrives once, in order, and every outbox gets empty.
import { setImmediate } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { must } from '../../src/core/assert.ts'
import { VirtualClock } from '../../src/core/clock.ts'
import { Exchange, type ExchangeTasks, type ExchangeTopic } from '../../src/engine/exchange.ts'
import { decodeExchange, ExchangePack } from '../../src/engine/exchange-record.ts'
import { RECORD_BYTES } from '../../src/log/claimed.ts'
import { below, pick, type Random, seeded, seedsOf } from '../identity/random.ts'
import { UnreliableLog } from '../log/unreliable-log.ts'

const PARTITIONS = 4
const PROCESSES = 3
const STEPS = 1200
const LARGE_BYTES = 2 * RECORD_BYTES + 17

interface Message {
  readonly seq: number
  readonly bytes: Buffer
}

/** What survives owners: the rows of a partition. */
interface Rows {
  owner: number
  readonly sent: number[]
  readonly outbox: Message[][]
  readonly marks: number[]
  /** Per origin, what was taken. */
  readonly taken: Message[][]
}

const lists = <T>(): T[][] => Array.from({ length: PARTITIONS }, () => [])
const zeros = (): number[] => new Array(PARTITIONS).fill(0)

class World {
  readonly random: Random
  readonly clock = new VirtualClock(0)
  readonly rows: Rows[] = Array.from({ length: PARTITIONS }, () => ({
    ...{ owner: -1, sent: zeros(), outbox: lists<Message>(), marks: zeros(), taken: lists<Message>() },
  }))
  readonly processes: Process[]
  readonly logs: UnreliableLog[]
  isBad = true
  readonly #steps: (() => void)[] = []

  constructor(seed: number) {
    this.random = seeded(seed)
    const fate = (): { arrivals: number; isAnswered: boolean } =>
      this.isBad
        ? { arrivals: pick(this.random, [0, 1, 1, 1, 2]), isAnswered: below(this.random, 8) > 0 }
        : { arrivals: 1, isAnswered: true }
    this.logs = Array.from({ length: PARTITIONS }, () => new UnreliableLog({ schedule: (_, run) => this.later(run), fate }))
    this.processes = Array.from({ length: PROCESSES }, (_, i) => new Process(this, i))
    for (let p = 0; p < PARTITIONS; p++) this.move(p, p % PROCESSES, true)
  }

  later(run: () => void): void {
    this.#steps.push(run)
  }

  rowsOf(partition: number): Rows {
    return must(this.rows[partition], 'a partition')
  }

  /** Another owner; the old one may hear of it later only. */
  move(partition: number, to: number, isTold: boolean): void {
    const rows = this.rowsOf(partition)
    const { owner } = rows
    const hears = (): void => {
      if (rows.owner !== owner || isTold) this.processes[owner]?.leave(partition)
    }
    if (isTold) hears()
    else this.later(hears)
    rows.owner = to
    must(this.processes[to], 'a process').open(partition)
  }

  send(): void {
    const [origin, target] = [below(this.random, PARTITIONS), below(this.random, PARTITIONS)]
    const rows = this.rowsOf(origin)
    const seq = (rows.sent[target] ?? 0) + 1
    rows.sent[target] = seq
    const size = below(this.random, 60) === 0 ? LARGE_BYTES : 20
    const message = { seq, bytes: Buffer.alloc(size, `${origin}>${target}:${seq} `) }
    rows.outbox[target]?.push(message)
    must(this.processes[rows.owner], 'an owner').exchange.send({ origin, target, ...message })
  }

  /** Runs steps in any order, and lets time pass. */
  async run(steps: number, between: () => void): Promise<void> {
    for (let i = 0; i < steps; i++) {
      between()
      const [step] = this.#steps.splice(below(this.random, this.#steps.length), 1)
      step?.()
      this.clock.advance(below(this.random, 20))
      await setImmediate()
    }
  }

  get isDone(): boolean {
    return this.rows.every((r) => r.outbox.every((list) => list.length === 0))
  }
}

class Process {
  readonly exchange: Exchange
  readonly #world: World
  readonly #index: number
  /** Of the tasks that it believes to own: the last message of each origin that was given to them. */
  readonly #received = new Map<number, number[]>()

  constructor(world: World, index: number) {
    this.#world = world
    this.#index = index
    this.exchange = new Exchange({ topic: this.#topic(), tasks: this.#tasks(), clock: world.clock })
  }

  open(partition: number): void {
    const rows = this.#world.rowsOf(partition)
    this.#received.set(partition, [...rows.marks])
    for (const [target, list] of rows.outbox.entries())
      for (const message of [...list]) this.exchange.send({ origin: partition, target, ...message })
    this.exchange.begin(partition, (error) => {
      throw error
    })
  }

  leave(partition: number): void {
    this.#received.delete(partition)
    this.exchange.leave(partition)
  }

  #topic(): ExchangeTopic {
    const { logs, clock, random } = this.#world
    const connected = logs.map((log) =>
      log.connect({
        schedule: (_, run) => this.#world.later(run),
        clock,
        failsToRead: () => this.#world.isBad && below(random, 10) === 0,
      }),
    )
    const of = (p: number) => must(connected[p], 'a partition')
    return {
      partitions: PARTITIONS,
      // Now and then it claims to have what it hasn't.
      append: (p, payload) => (this.#world.isBad && below(random, 20) === 0 ? Promise.resolve() : of(p).append(payload)),
      end: async (p) => must(logs[p], 'a partition').records.length,
      cursor: (p) => ({ read: (from, limits) => of(p).read(from, limits), close: () => undefined }),
    }
  }

  #tasks(): ExchangeTasks {
    return {
      deliver: ({ origin, target, seq, bytes }) => {
        const received = this.#received.get(target)
        if (!received) return 'absent'
        const last = received[origin] ?? 0
        if (seq !== last + 1) return seq <= last ? 'repeat' : 'gap'
        received[origin] = seq
        this.#world.later(() => this.#commit({ received, origin, target, seq, bytes }))
        return 'taken'
      },
      durableMark: (target, origin) => this.#world.rowsOf(target).marks[origin] ?? 0,
      confirmed: (origin, target, seq) => {
        if (!this.#received.has(origin)) return false
        const waiting = this.#world.rowsOf(origin).outbox[target]
        while (waiting?.[0] && waiting[0].seq <= seq) waiting.shift()
        return true
      },
      sayAgain: (origin, target) => {
        if (!this.#received.has(origin)) return false
        for (const message of [...(this.#world.rowsOf(origin).outbox[target] ?? [])]) this.exchange.send({ origin, target, ...message })
        return true
      },
      unconfirmed: () => this.#unconfirmed(),
    }
  }

  *#unconfirmed(): Iterable<{ origin: number; target: number; seq: number }> {
    for (const origin of this.#received.keys())
      for (const [target, [first]] of this.#world.rowsOf(origin).outbox.entries()) if (first) yield { origin, target, seq: first.seq }
  }

  /** Of an owner that has been overtaken it doesn't count, nor of an earlier one in the same process; commits of one task come in order. */
  #commit(commit: Message & { readonly received: number[]; readonly origin: number; readonly target: number }): void {
    const { received, origin, target, ...message } = commit
    const rows = this.#world.rowsOf(target)
    if (rows.owner !== this.#index || this.#received.get(target) !== received) return
    const mark = rows.marks[origin] ?? 0
    if (message.seq > mark + 1) {
      this.#world.later(() => this.#commit(commit))
      return
    }
    rows.marks[origin] = message.seq
    rows.taken[origin]?.push({ seq: message.seq, bytes: message.bytes })
    this.exchange.confirm(origin, target, message.seq)
  }
}

describe('messages between partitions of several processes', () => {
  test.each(Array.from({ length: seedsOf(6) }, (_, i) => i + 1))('arrive once and in order (seed %i)', async (seed) => {
    const world = new World(seed)
    await world.run(STEPS, () => {
      if (below(world.random, 4) === 0) world.send()
      if (below(world.random, 60) === 0)
        world.move(below(world.random, PARTITIONS), below(world.random, PROCESSES), below(world.random, 2) === 0)
    })
    world.isBad = false
    for (let tries = 0; !world.isDone && tries < 200; tries++) await world.run(100, () => undefined)
    expect(world.isDone).toBe(true)
    for (const [target, rows] of world.rows.entries())
      for (const [origin, taken] of rows.taken.entries()) {
        const sent = world.rowsOf(origin).sent[target] ?? 0
        expect(taken.map((m) => m.seq)).toEqual(Array.from({ length: sent }, (_, i) => i + 1))
        for (const { seq, bytes } of taken) expect(bytes.equals(Buffer.alloc(bytes.length, `${origin}>${target}:${seq} `))).toBe(true)
      }
    for (const process of world.processes) process.exchange.close()
  })
})

test('records stay below their limit, and say what was said', () => {
  const pack = new ExchangePack()
  const large = Buffer.alloc(LARGE_BYTES, 'x')
  pack.message(3, 7, large)
  for (let i = 0; i < 3000; i++) pack.message(1, i + 1, Buffer.alloc(200, 'y'))
  pack.confirm(2, 9)
  pack.again(5)
  const records = pack.take()
  expect(Math.max(...records.map((r) => r.length))).toBeLessThanOrEqual(RECORD_BYTES)
  const entries = records.flatMap((record) => decodeExchange(record))
  const parts = entries.flatMap((e) => (e.t === 'message' && e.origin === 3 ? [e.bytes] : []))
  expect(parts.length).toBe(3)
  expect(Buffer.concat(parts).equals(large)).toBe(true)
  expect(entries.filter((e) => e.t === 'message' && e.origin === 1).map((e) => (e.t === 'message' ? e.seq : 0))).toEqual(
    Array.from({ length: 3000 }, (_, i) => i + 1),
  )
  expect(entries.slice(-2)).toEqual([
    { t: 'confirm', target: 2, seq: 9 },
    { t: 'again', target: 5 },
  ])
  expect(pack.take()).toEqual([])
  expect(() => decodeExchange(Buffer.of(9))).toThrow(expect.objectContaining({ code: 'data_corrupt' }))
})
