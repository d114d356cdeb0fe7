// A partition of a user's topic, processes that read it, and the logs of the homes that they append to, all in memory and at random:
// readers that were overtaken read on, appends arrive late, twice or never, positions are moved and lost, leaders lose records.
import { must } from '../../src/core/assert.ts'
import type { OriginPlace } from '../../src/core/origin.ts'
import { Pack } from '../../src/engine/inputs.ts'
import { type Run, Runs } from '../../src/log/source-runs.ts'

export const HOMES = 3
const PROCESSES = 3
const ORIGIN = 'o'.repeat(16)

interface UserRecord {
  readonly leader: number
  readonly offset: number
  /** Of each message its home. */
  readonly homes: readonly number[]
}

interface Append {
  readonly home: number
  readonly payload: Buffer
  /** Of the same chunk and home: while it is in doubt, this one can't arrive. */
  readonly before: Append | undefined
  hasArrived: boolean
}

/** A chunk on its way; `next` is behind it. */
interface Chunk {
  readonly appends: readonly Append[]
  readonly run: Run
  readonly next: number
}

interface Process {
  runs: Runs
  /** Undefined: it is no member. */
  position: number | undefined
  chunk: Chunk | undefined
  /** Of earlier sessions. */
  old: Chunk | undefined
}

export const messageName = ({ leader, offset }: UserRecord, index: number): string => `${leader}/${offset}/${index}`

export class OriginWorld {
  readonly logs: Buffer[][] = Array.from({ length: HOMES }, () => [])
  topic: UserRecord[] = []
  /** What a leader has lost. */
  readonly lost: UserRecord[] = []
  readonly #random: () => number
  #leader = 0
  #end = 0
  #committed = 0
  readonly #processes: Process[] = Array.from({ length: PROCESSES }, () => ({
    runs: new Runs(),
    position: undefined,
    chunk: undefined,
    old: undefined,
  }))
  /** Appends that are sent and may arrive. */
  #underWay: Append[] = []

  constructor(random: () => number) {
    this.#random = random
  }

  #below(n: number): number {
    return Math.floor(this.#random() * n)
  }

  step(): void {
    const process = must(this.#processes[this.#below(PROCESSES)], 'there is one')
    const acts: readonly (readonly [weight: number, act: () => void])[] = [
      [5, () => this.#produce()],
      [10, () => this.#read(process)],
      [25, () => this.#land()],
      [10, () => this.#finish(process)],
      [3, () => this.#send(process.chunk ?? process.old)],
      [2, () => this.#join(process)],
      [0.5, () => this.#restart(process)],
      [1, () => this.#loseRecords()],
      [0.5, () => this.#move(this.#below(this.#end + 1))],
      [0.3, () => this.#move(0)],
    ]
    let left = this.#random() * acts.reduce((sum, [weight]) => sum + weight, 0)
    for (const [weight, act] of acts) {
      left -= weight
      if (left < 0) return act()
    }
  }

  /** At last somebody reads all that there is, undisturbed, from the beginning. */
  readAll(): void {
    const last: Process = { runs: new Runs(), position: undefined, chunk: undefined, old: undefined }
    this.#move(0)
    this.#join(last)
    while (this.topic.some(({ offset }) => offset >= (last.position ?? 0))) {
      this.#read(last)
      for (const append of this.#underWay.splice(0)) this.#arrive(append)
      this.#finish(last)
    }
  }

  #produce(): void {
    for (let n = this.#below(6); n >= 0; n--) {
      // Transactions and compaction leave holes.
      this.#end += this.#below(10) === 0 ? 2 : 1
      const homes = Array.from({ length: 1 + this.#below(3) }, () => this.#below(HOMES))
      this.topic.push({ leader: this.#leader, offset: this.#end - 1, homes })
    }
  }

  /** Offsets of what is lost are used again, under another leader. */
  #loseRecords(): void {
    this.#leader++
    const isClean = this.#below(2) === 0
    if (isClean) return
    this.lost.push(...this.topic.splice(Math.max(0, this.topic.length - this.#below(8))))
    this.#end = (this.topic.at(-1)?.offset ?? -1) + 1
  }

  #move(position: number): void {
    this.#committed = position
  }

  #join(process: Process): void {
    process.runs.joined()
    process.position = this.#committed
    process.old = process.chunk ?? process.old
    process.chunk = undefined
  }

  #restart(process: Process): void {
    process.runs = new Runs()
    process.position = undefined
    process.old = undefined
    process.chunk = undefined
  }

  /** The next chunk: records of one leader. */
  #read(process: Process): void {
    if (process.position === undefined || process.chunk) return
    if (process.position > this.#end) process.position = 0
    const asked = process.position
    const begin = this.topic.findIndex((r) => r.offset >= asked)
    const first = this.topic[begin]
    if (!first) return
    const records = this.topic.slice(begin, begin + 1 + this.#below(8)).filter((r) => r.leader === first.leader)
    const run = process.runs.of('orders/0', { topicId: 'id', leader: first.leader, asked, first: first.offset })
    process.chunk = { appends: this.#packed(records, run), run, next: must(records.at(-1), 'not empty').offset + 1 }
    this.#send(process.chunk)
  }

  /** Now and then in several packs. */
  #packed(records: readonly UserRecord[], { origin }: Run): Append[] {
    const packs = Array.from({ length: HOMES }, () => new Pack())
    const appends: Append[] = []
    const close = (home: number, pack: Pack): void => {
      const before = appends.findLast((a) => a.home === home)
      if (pack.count > 0) appends.push({ home, payload: Buffer.from(pack.take()), before, hasArrived: false })
    }
    const reading = { origin: ORIGIN, ...origin }
    for (const record of records)
      for (const [index, home] of record.homes.entries()) {
        const pack = must(packs[home], 'one of the homes')
        const place: OriginPlace = { offset: record.offset, index }
        if (this.#below(5) === 0) close(home, pack)
        pack.addRead(Buffer.from(messageName(record, index)), reading, place)
      }
    for (const [home, pack] of packs.entries()) close(home, pack)
    return appends
  }

  #send(chunk: Chunk | undefined): void {
    if (chunk) this.#underWay.push(...chunk.appends)
  }

  /** One of those under way arrives, or the one before it. */
  #land(): void {
    let append = this.#underWay[this.#below(this.#underWay.length)]
    if (!append) return
    for (let before = append.before; before; before = before.before) if (!before.hasArrived) append = before
    this.#arrive(append)
    const at = this.#underWay.indexOf(append)
    if (at >= 0 && this.#below(5) > 0) this.#underWay.splice(at, 1)
  }

  #arrive(append: Append): void {
    append.hasArrived = true
    must(this.logs[append.home], 'one of the homes').push(append.payload)
  }

  /** The chunk is acknowledged: it is told to the group, or not yet. */
  #finish(process: Process): void {
    for (const chunk of [process.old, process.chunk]) {
      if (!chunk?.appends.every((a) => a.hasArrived)) continue
      chunk.run.next = Math.max(chunk.run.next, chunk.next)
      if (this.#below(2) === 0) this.#committed = chunk.next
      if (chunk === process.old) process.old = undefined
      else {
        process.position = chunk.next
        process.chunk = undefined
      }
    }
  }
}
