// What all processes of a deployment are to have alike: their settings, as records in the log of definitions. Owns the comparison at start.
//
// 1. The first record says what is fixed for the life of the deployment: under other settings identifiers would have other homes, time
//    another source, and repeats would be looked for elsewhere. Who has something else doesn't start. Of two that start at one time, the
//    log says who was first.
// 2. The latest record says the rest, which may change by a restart of one process after the other: meanwhile it depends on who does the
//    work how it is done, but nothing breaks. Who has something else says so, and in a record of its own: so the second process of a
//    change finds nothing to say, and one that was forgotten does when it starts.
// 3. A record counts iff its number is that of the last one that counted, plus 1: late repeats change nothing. It claims version 0, so it
//    doesn't count as a definition (registry.ts 1).
import { must } from '../core/assert.ts'
import { type Clock, sleep } from '../core/clock.ts'
import { TributaryError } from '../core/errors.ts'
import type { SharedLog } from '../log/claimed.ts'
import { isFinal } from './registry.ts'

/** Flat: compared value by value. */
export type Settings = Readonly<Record<string, string | number | boolean>>

export interface Alike {
  readonly fixed: Settings
  readonly changing: Settings
}

export interface AlikeOptions {
  readonly log: SharedLog
  readonly clock: Clock
  /** Something that a person must look at. */
  readonly alarm: (message: string) => void
}

const READ = { maxRecords: 1000, maxBytes: 8 << 20, waitMs: 0 }
const RETRY_MS = 100
/** What can't be read or appended for so long is given up. */
const TROUBLE_MS = 10_000

/** Compares the settings of this process with those of the deployment; throws deployment_mismatch where they can't go together (1). */
export async function compareAlike(own: Alike, options: AlikeOptions): Promise<void> {
  const told = new ToldSettings(options)
  await told.refresh()
  if (told.all.length === 0) await told.tell(own)
  const wrong = differences(must(told.all[0], 'somebody was first').fixed, own.fixed)
  if (wrong.length > 0) throw new TributaryError('deployment_mismatch', `The deployment runs with other settings: ${wrong.join('; ')}`)
  const changesNow = (): string[] => differences(must(told.all.at(-1), 'somebody was last').changing, own.changing)
  const changed = changesNow()
  while (changesNow().length > 0) await told.tell(own)
  if (changed.length === 0) return
  options.alarm(
    `settings have changed: ${changed.join('; ')}. All processes of the deployment are to have the same: restart the others too`,
  )
}

interface Told {
  readonly n: number
  readonly settings: Alike
}

/** The settings that were told, as far as they count (3). */
class ToldSettings {
  readonly all: Alike[] = []
  readonly #log: SharedLog
  readonly #clock: Clock
  #next: number | undefined

  constructor({ log, clock }: AlikeOptions) {
    this.#log = log
    this.#clock = clock
  }

  /** Reads everything that is there. */
  refresh(): Promise<void> {
    return this.#persist(async () => {
      this.#next ??= await this.#log.first()
      for (let end = Number.POSITIVE_INFINITY; this.#next < end; ) {
        const page = await this.#log.read(this.#next, READ)
        end = page.end
        for (const { position, payload } of page.records) {
          this.#next = position + 1
          const { n, settings } = JSON.parse(payload.toString('utf8')) as Partial<Told>
          if (settings && n === this.all.length + 1) this.all.push(settings)
        }
      }
    })
  }

  /** Adds a record; returns once it, or another one meanwhile, was read back. */
  async tell(settings: Alike): Promise<void> {
    const known = this.all.length
    const told: Told = { n: known + 1, settings }
    const payload = Buffer.from(JSON.stringify({ version: 0, ...told }))
    while (this.all.length === known) {
      await this.#persist(() => this.#log.append(payload))
      await this.refresh()
    }
  }

  async #persist(work: () => Promise<unknown>): Promise<void> {
    const untilMs = this.#clock.monotonicMs() + TROUBLE_MS
    for (;;) {
      try {
        await work()
        return
      } catch (error) {
        if (isFinal(error) || this.#clock.monotonicMs() > untilMs) throw error
        await sleep(this.#clock, RETRY_MS)
      }
    }
  }
}

function differences(before: Settings, now: Settings): string[] {
  const names = [...new Set([...Object.keys(before), ...Object.keys(now)])].sort()
  return names
    .filter((name) => before[name] !== now[name])
    .map((name) => `${name}: is ${shown(before[name])} there, ${shown(now[name])} here`)
}

const shown = (value: string | number | boolean | undefined): string => (value === undefined ? 'not set' : JSON.stringify(value))
