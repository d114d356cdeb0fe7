// Colours, tables, numbers and the progress line: only what a terminal shows.

import type { Clock } from '../core/clock.ts'
import type { Io, Output } from './command.ts'

const CODES = { bold: [1, 22], dim: [2, 22], red: [31, 39], green: [32, 39], yellow: [33, 39], blue: [34, 39], cyan: [36, 39] } as const
export type Style = keyof typeof CODES
export type Paint = (style: Style, text: string) => string

/** Colours on a terminal that wants them: NO_COLOR and FORCE_COLOR are honoured. */
export function paintFor(output: Output, env: Io['env']): Paint {
  const forced = env.FORCE_COLOR !== undefined && env.FORCE_COLOR !== '0'
  const refused = env.NO_COLOR !== undefined && env.NO_COLOR !== ''
  if (refused || !(forced || (output.isTTY === true && env.TERM !== 'dumb'))) return (_, text) => text
  return (style, text) => `\x1b[${CODES[style][0]}m${text}\x1b[${CODES[style][1]}m`
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what colours are made of
const COLOUR = /\x1b\[\d+m/g

function width(text: string): number {
  return text.replace(COLOUR, '').length
}

/** Rows with aligned columns; `right` names the columns that hold numbers. */
export function table(rows: readonly (readonly string[])[], right: readonly number[] = []): string {
  const widths: number[] = []
  for (const row of rows) for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, width(cell))
  return rows
    .map((row) => {
      const cells = row.map((cell, i) => {
        const gap = ' '.repeat((widths[i] ?? 0) - width(cell))
        return right.includes(i) ? gap + cell : cell + gap
      })
      return `${cells.join('  ').trimEnd()}\n`
    })
    .join('')
}

export function grouped(n: number): string {
  return Math.round(n).toLocaleString('en-US')
}

export function clockText(ms: number): string {
  const s = Math.max(0, Math.round(ms / 1000))
  const [h, m] = [Math.floor(s / 3600), Math.floor(s / 60) % 60]
  const two = (n: number) => String(n).padStart(2, '0')
  return h > 0 ? `${h}:${two(m)}:${two(s % 60)}` : `${m}:${two(s % 60)}`
}

const BAR_CELLS = 24
const REDRAW_MS = 100
const PLAIN_EVERY_MS = 5000

/** A line that is redrawn in place on a terminal, and printed now and then elsewhere. */
export class ProgressLine {
  readonly #output: Output
  readonly #clock: Clock
  #drawnAt = Number.NEGATIVE_INFINITY
  #drawn = false

  constructor(output: Output, clock: Clock) {
    this.#output = output
    this.#clock = clock
  }

  /** Shows `text` unless something was shown just before. */
  show(text: () => string): void {
    const now = this.#clock.monotonicMs()
    if (now - this.#drawnAt < (this.#output.isTTY ? REDRAW_MS : PLAIN_EVERY_MS)) return
    this.#drawnAt = now
    this.#draw(text())
  }

  #draw(text: string): void {
    this.#drawn = true
    if (this.#output.isTTY) this.#output.write(`\r\x1b[2K${text.slice(0, (this.#output.columns ?? 80) - 1)}`)
    else this.#output.write(`${text}\n`)
  }

  /** Takes the line away, so that other lines can be printed. */
  clear(): void {
    if (this.#drawn && this.#output.isTTY) this.#output.write('\r\x1b[2K')
    this.#drawn = false
    this.#drawnAt = Number.NEGATIVE_INFINITY
  }
}

export function bar(fraction: number): string {
  const full = Math.round(Math.min(1, Math.max(0, fraction)) * BAR_CELLS)
  return `${'█'.repeat(full)}${'░'.repeat(BAR_CELLS - full)}`
}
