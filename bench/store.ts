// What the store costs per event, for each binding: 16 databases, batches of 1,000 events, and per event one timeline row (250 B),
// one dedupe row (no value) and half a profile row (700 B). Before its write each batch asks for its dedupe rows (all absent) and
// for a quarter as many profiles (some present). Four databases are busy at a time.
//   cpu us     of the whole process per event, compaction included
//   host us    of the thread that calls the store, per event
//   rss        highest resident memory; `batch` is the time from a batch's first read to the end of its write
// Each kind runs in a process of its own. `node bench/store.ts [events] [--json] [--kinds=nxt,native,memory]
// [--fsync] [--buffer-mb=8]`
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openStore, type StoreKind } from '../src/state/open-store.ts'
import type { RocksOptions } from '../src/state/rocksdb-options.ts'
import type { Store } from '../src/state/store.ts'

const DATABASES = 16
const BUSY = 4
const BATCH_EVENTS = 1000
const PROFILES_PER_BATCH = 500
const READS_PER_BATCH = 250
const PROFILES = 62_500
const SEED = 20_261_124

export interface StoreCost {
  readonly kind: StoreKind
  readonly events: number
  readonly cpuUs: number
  readonly hostUs: number
  readonly eventsPerSecond: number
  readonly batchMsP50: number
  readonly batchMsP99: number
  readonly rssMb: number
  readonly diskMb: number
  /** Profile rows that were found: the same for every kind. */
  readonly found: number
}

export interface BenchOptions {
  readonly fsync?: boolean
  readonly databases?: number
  readonly rocks?: Partial<RocksOptions>
}

/** Numbers in [0, 2^32), the same for the same seed. */
function randomNumbers(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return (t ^ (t >>> 14)) >>> 0
  }
}

function randomText(next: () => number, bytes: number): string {
  const out = Buffer.allocUnsafe(bytes)
  for (let i = 0; i < bytes; i++) out[i] = next() & 255
  return out.toString('latin1')
}

/** The work on one database. */
class Load {
  readonly #store: Store
  readonly #next: () => number
  readonly #profiles: string[]
  readonly #values: readonly Buffer[]
  readonly #empty = Buffer.alloc(0)
  #time = 1_700_000_000
  found = 0

  constructor(store: Store, seed: number) {
    this.#store = store
    this.#next = randomNumbers(seed)
    this.#profiles = Array.from({ length: PROFILES }, () => randomText(this.#next, 19))
    this.#values = Array.from({ length: 64 }, () => Buffer.from(randomText(this.#next, 1000), 'latin1'))
  }

  #profile(): string {
    // Squaring makes some profiles much busier than others.
    const x = this.#next() / 2 ** 32
    return this.#profiles[Math.floor(x * x * PROFILES)] as string
  }

  #value(bytes: number): Buffer {
    return (this.#values[this.#next() & 63] as Buffer).subarray(0, bytes)
  }

  async batch(): Promise<void> {
    const hashes = Array.from({ length: BATCH_EVENTS }, () => randomText(this.#next, 16))
    const profiles = [...new Set(Array.from({ length: PROFILES_PER_BATCH }, () => this.#profile()))]
    const dedupe = hashes.map((hash) => `d\x00\x00\x01${hash}`)
    const reads = profiles.slice(0, READS_PER_BATCH).map((profile) => `p${profile}`)
    for (const value of (await this.#store.getMany([...dedupe, ...reads])).slice(BATCH_EVENTS)) if (value) this.found++
    const puts: [string, Buffer][] = []
    for (const [i, hash] of hashes.entries()) {
      const time = String(this.#time++).slice(-6)
      puts.push([dedupe[i] as string, this.#empty], [`t${profiles[i % profiles.length]}${time}${hash}`, this.#value(250)])
    }
    for (const profile of profiles) puts.push([`p${profile}`, this.#value(700)])
    await this.#store.write({ puts })
  }
}

/** Runs `events` events against one kind of store, in this process. */
export async function storeCost(kind: StoreKind, events: number, options: BenchOptions = {}): Promise<StoreCost> {
  const databases = options.databases ?? DATABASES
  const dir = await mkdtemp(join(tmpdir(), 'tributary-bench-'))
  const stores = await Promise.all(Array.from({ length: databases }, (_, i) => openStore(kind, join(dir, String(i)), options.rocks)))
  const loads = stores.map((store, i) => new Load(store, SEED + i))
  const batches = Math.ceil(events / BATCH_EVENTS)
  const times: number[] = []
  const started = performance.now()
  const cpu = process.cpuUsage()
  const host = process.threadCpuUsage()
  // Each lane has databases of its own, so that every kind does the same work whatever its speed.
  const lanes = Math.min(BUSY, databases)
  const lane = async (first: number): Promise<void> => {
    for (let n = first; n < batches; n += lanes) {
      const from = performance.now()
      await loads[n % databases]?.batch()
      if (options.fsync) await stores[n % databases]?.sync()
      times.push(performance.now() - from)
    }
  }
  await Promise.all(Array.from({ length: lanes }, (_, i) => lane(i)))
  const seconds = (performance.now() - started) / 1000
  const hostUsed = process.threadCpuUsage(host)
  let bytes = 0
  for (const store of stores) bytes += await store.bytes()
  await Promise.all(stores.map((store) => store.close()))
  // Compaction that closing waited for belongs to these events too.
  const used = process.cpuUsage(cpu)
  await rm(dir, { recursive: true, force: true })
  times.sort((a, b) => a - b)
  const done = batches * BATCH_EVENTS
  return {
    kind,
    events: done,
    cpuUs: (used.user + used.system) / done,
    hostUs: (hostUsed.user + hostUsed.system) / done,
    eventsPerSecond: done / seconds,
    batchMsP50: times[Math.floor(times.length * 0.5)] ?? 0,
    batchMsP99: times[Math.floor(times.length * 0.99)] ?? 0,
    rssMb: process.resourceUsage().maxRSS / 1024,
    diskMb: bytes / 2 ** 20,
    found: loads.reduce((sum, load) => sum + load.found, 0),
  }
}

function show(costs: readonly StoreCost[]): string {
  const head = ['kind', 'cpu us', 'host us', 'events/s', 'batch p50 ms', 'p99 ms', 'rss MB', 'disk MB', 'found']
  const rows = costs.map((c) => [
    c.kind,
    c.cpuUs.toFixed(1),
    c.hostUs.toFixed(1),
    c.eventsPerSecond.toFixed(0),
    c.batchMsP50.toFixed(1),
    c.batchMsP99.toFixed(1),
    c.rssMb.toFixed(0),
    c.diskMb.toFixed(0),
    String(c.found),
  ])
  return [head, ...rows].map((cells) => cells.map((cell, i) => (i === 0 ? cell.padEnd(8) : cell.padStart(13))).join('')).join('\n')
}

async function main(args: readonly string[]): Promise<void> {
  const events = Number(args.find((arg) => /^\d+$/.test(arg)) ?? 1_000_000)
  const kinds = (args.find((arg) => arg.startsWith('--kinds=')) ?? '--kinds=nxt,native').slice(8).split(',') as StoreKind[]
  const bufferMb = args.find((arg) => arg.startsWith('--buffer-mb='))?.slice(12)
  if (process.send) {
    const rocks = bufferMb === undefined ? {} : { writeBufferBytes: Number(bufferMb) * 2 ** 20 }
    process.send(await storeCost(kinds[0] as StoreKind, events, { fsync: args.includes('--fsync'), rocks }))
    process.disconnect()
    return
  }
  const costs: StoreCost[] = []
  for (const kind of kinds) {
    const child = fork(import.meta.filename, [...args.filter((arg) => !arg.startsWith('--kinds=')), `--kinds=${kind}`])
    const [result] = (await Promise.race([once(child, 'message'), once(child, 'exit')])) as [StoreCost | number | null]
    if (result === null || typeof result === 'number') throw new Error(`the process for ${kind} ended with ${result}`)
    costs.push(result)
  }
  console.log(args.includes('--json') ? JSON.stringify(costs, null, 2) : show(costs))
}

if (import.meta.main) await main(process.argv.slice(2))
