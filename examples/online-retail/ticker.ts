// Shows a sample of the transitions, slowly enough to be read: of those that came since the last line, the one whose kind
// (segment, direction, cause) was shown least.
import type { Output } from '../../src/cli/command.ts'
import type { ShownTransition } from '../../src/cli/follow.ts'
import type { Paint } from '../../src/cli/terminal.ts'
import type { Clock } from '../../src/core/clock.ts'

/** Between two lines. */
const EVERY_MS = 60
/** Of those not shown yet, as many are kept to choose from. */
const MAX_KEPT = 200
const PERSON_CHARACTERS = 13
const SEGMENT_CHARACTERS = 25

export class Ticker {
  readonly #out: Output
  readonly #paint: Paint
  readonly #clock: Clock
  readonly #shown = new Map<string, number>()
  #kept: ShownTransition[] = []
  #status = ''
  #cancel = (): void => {}
  seen = 0

  constructor(out: Output, paint: Paint, clock: Clock) {
    this.#out = out
    this.#paint = paint
    this.#clock = clock
    this.#tick()
  }

  add(t: ShownTransition): void {
    this.seen++
    this.#kept.push(t)
    if (this.#kept.length > MAX_KEPT) this.#kept.shift()
  }

  /** The line that stays at the bottom of a terminal. */
  status(text: string): void {
    this.#status = text
  }

  stop(): void {
    this.#cancel()
    if (this.#out.isTTY) this.#out.write('\r\x1b[2K')
  }

  #tick(): void {
    this.#cancel = this.#clock.after(EVERY_MS, () => this.#tick())
    let rarest: ShownTransition | undefined
    let least = Number.POSITIVE_INFINITY
    for (const t of this.#kept) {
      const times = this.#shown.get(kindOf(t)) ?? 0
      if (times >= least) continue
      rarest = t
      least = times
    }
    this.#kept = []
    const line = rarest === undefined ? '' : `${demoLine(rarest, this.#paint)}\n`
    if (rarest !== undefined) this.#shown.set(kindOf(rarest), least + 1)
    if (this.#out.isTTY) this.#out.write(`\r\x1b[2K${line}${this.#status}`)
    else if (line !== '') this.#out.write(line)
  }
}

function kindOf(t: ShownTransition): string {
  return `${t.segment} ${t.transition} ${t.cause}`
}

export function demoLine(t: ShownTransition, paint: Paint): string {
  const person = t.userId ?? `guest ${t.profile.slice(-6)}`
  const mark = t.transition === 'entered' ? paint('green', '▲ entered') : paint('red', '▼ exited ')
  const why =
    t.cause === 'timer' && t.causeId === undefined
      ? paint('yellow', 'timer: time passed')
      : `${t.cause}${t.causeId === undefined ? '' : ` ${t.causeId}`}`
  const when = paint('dim', t.at.slice(0, 16).replace('T', ' '))
  return `  ${when}  ${person.padEnd(PERSON_CHARACTERS)} ${mark}  ${paint('bold', t.segment.padEnd(SEGMENT_CHARACTERS))}  ${why}`
}
