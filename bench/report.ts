// What every benchmark says about a run: cost in CPU beside every rate, and the machine that it ran on.
import { readFileSync } from 'node:fs'
import { availableParallelism, cpus, loadavg, totalmem } from 'node:os'

/** Whatever was measured, by name. */
export interface Figures {
  readonly name: string
  readonly [more: string]: unknown
}

/** What every benchmark of a rate says. */
export interface Result extends Figures {
  readonly events: number
  readonly eventsPerSecond: number
  /** User and system time of the whole process, all threads. */
  readonly cpuUsPerEvent: number
  readonly rssMB: number
  /** Pages dirtied by this process, per event. */
  readonly diskBytesPerEvent?: number
}

interface Reading {
  readonly ms: number
  readonly cpuUs: number
  readonly diskBytes: number
}

function read(): Reading {
  const { user, system } = process.cpuUsage()
  return { ms: performance.now(), cpuUs: user + system, diskBytes: writtenBytes() }
}

function writtenBytes(): number {
  try {
    return Number(/^write_bytes: (\d+)/m.exec(readFileSync('/proc/self/io', 'utf8'))?.[1] ?? 0)
  } catch {
    // Not everywhere may a process read its own counters.
    return 0
  }
}

/** Begins to measure this process; the returned function ends it, for so many events. */
export function measure(name: string): (events: number, more?: { readonly [name: string]: unknown }) => Result {
  const before = read()
  return (events, more = {}) => {
    const after = read()
    return {
      name,
      events,
      eventsPerSecond: Math.round((events / (after.ms - before.ms)) * 1000),
      cpuUsPerEvent: rounded((after.cpuUs - before.cpuUs) / events),
      rssMB: Math.round(process.memoryUsage.rss() / 2 ** 20),
      diskBytesPerEvent: Math.round((after.diskBytes - before.diskBytes) / events),
      ...more,
    }
  }
}

/** Three significant digits or more: nobody measures better. */
export function rounded(x: number): number {
  return Math.abs(x) >= 100 ? Math.round(x) : Number(x.toPrecision(3))
}

/** One line: JSON for machines, else for people. */
export function printed(result: Figures, json: boolean): string {
  if (json) return JSON.stringify(result)
  const { name, ...figures } = result
  return `${name}: ${Object.entries(figures)
    .map(([k, v]) => `${k} ${typeof v === 'number' ? v.toLocaleString('en') : JSON.stringify(v)}`)
    .join(' · ')}`
}

export interface Spread {
  readonly median: number
  readonly min: number
  readonly max: number
}

export function spreadOf(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b)
  const at = (i: number) => sorted[i] ?? Number.NaN
  const half = (sorted.length - 1) / 2
  return { median: (at(Math.floor(half)) + at(Math.ceil(half))) / 2, min: at(0), max: at(sorted.length - 1) }
}

export function machine(): { readonly [name: string]: string | number } {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    memoryGB: Math.round(totalmem() / 2 ** 30),
    node: process.versions.node,
    load1: rounded(loadavg()[0] ?? 0),
  }
}

const CALIBRATION_STEPS = 3e7

/** CPU ms of a fixed piece of single-core work: virtual machines change speed between runs, also when they are idle. */
export function calibrationMs(): number {
  const words = new Uint32Array(1 << 21)
  const before = process.cpuUsage()
  let x = 1
  for (let i = 0; i < CALIBRATION_STEPS; i++) {
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    const at = x & (words.length - 1)
    words[at] = (words[at] as number) + x
  }
  const { user, system } = process.cpuUsage(before)
  return Math.round((user + system) / 1000)
}
