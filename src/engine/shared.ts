// Numbers that the main thread and the hosts share without messages: how far intake, reading and committing are, so that
// time can follow the clock without overtaking an accepted event anywhere in the process.
//
// 1. Intake marks itself busy before it reads the clock for a stamp, and idle only after the record's end is published.
// 2. Stamps of a partition's records never go back, so the last executed stamp bounds all later ones from below.

const IDLE = 2n ** 62n

/** Layout: intake · per host: oldest open stamp · per partition: records appended, records committed, last executed stamp. */
export class Shared {
  readonly buffer: SharedArrayBuffer
  readonly #cells: BigInt64Array
  readonly #hosts: number
  readonly #partitions: number

  constructor(hosts: number, partitions: number, buffer?: SharedArrayBuffer) {
    this.buffer = buffer ?? new SharedArrayBuffer((1 + hosts + 3 * partitions) * 8)
    this.#cells = new BigInt64Array(this.buffer)
    this.#hosts = hosts
    this.#partitions = partitions
    if (!buffer) for (let i = 0; i <= hosts; i++) this.#cells[i] = IDLE
  }

  #set(cell: number, value: number): void {
    Atomics.store(this.#cells, cell, value === Number.POSITIVE_INFINITY ? IDLE : BigInt(Math.floor(value)))
  }

  #get(cell: number): number {
    const value = Atomics.load(this.#cells, cell)
    return value === IDLE ? Number.POSITIVE_INFINITY : Number(value)
  }

  #cell(kind: 0 | 1 | 2, partition: number): number {
    return 1 + this.#hosts + kind * this.#partitions + partition
  }

  /** Main: a stamp not below `stamp` is about to be given; Infinity: intake is idle (1). */
  intakeBusy(stamp: number): void {
    this.#set(0, stamp)
  }

  hostOpen(host: number, oldestStamp: number): void {
    this.#set(1 + host, oldestStamp)
  }

  /** Grows only, whoever tells it. */
  appended(partition: number, records: number): void {
    const cell = this.#cell(0, partition)
    const told = BigInt(records)
    for (let known = Atomics.load(this.#cells, cell); known < told; ) {
      const found = Atomics.compareExchange(this.#cells, cell, known, told)
      if (found === known) return
      known = found
    }
  }

  committed(partition: number, records: number): void {
    this.#set(this.#cell(1, partition), records)
  }

  executed(partition: number, stamp: number): void {
    this.#set(this.#cell(2, partition), stamp)
  }

  appendedEnd(partition: number): number {
    return this.#get(this.#cell(0, partition))
  }

  committedEnd(partition: number): number {
    return this.#get(this.#cell(1, partition))
  }

  /** How far time may follow a clock that shows `clockNow` (read before this call). */
  allowedNow(clockNow: number): number {
    let allowed = clockNow
    for (let i = 0; i <= this.#hosts; i++) allowed = Math.min(allowed, this.#get(i))
    for (let p = 0; p < this.#partitions; p++) {
      if (this.appendedEnd(p) > this.committedEnd(p)) allowed = Math.min(allowed, this.#get(this.#cell(2, p)))
    }
    return allowed
  }
}
