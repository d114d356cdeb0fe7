// Durations and dates in definitions.
import { TributaryError } from '../core/errors.ts'
import type { Json } from '../core/event.ts'

export const UNITS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 } as const
export type Unit = keyof typeof UNITS

const DURATION = /^(\d{1,15})(?:\.(\d{1,9}))?(ms|s|m|h|d|w)$/

/** A duration's milliseconds: a whole number above 0. Fractions are fine where they come out whole, such as 1.5h. */
export function durationMs(text: string): number {
  const parts = DURATION.exec(text)
  if (!parts) throw new TributaryError('invalid_definition', `not a duration: ${JSON.stringify(text)}`)
  const [, whole = '', fraction = '', unit] = parts
  const scaled = BigInt(whole + fraction) * BigInt(UNITS[unit as Unit])
  const scale = 10n ** BigInt(fraction.length)
  if (scaled % scale !== 0n) throw new TributaryError('invalid_definition', `not a whole number of milliseconds: ${text}`)
  if (scaled === 0n) throw new TributaryError('invalid_definition', `a duration is longer than 0: ${text}`)
  return Number(scaled / scale)
}

const DATE = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d+)?)?)(Z|z|[+-]\d\d(?::?\d\d)?)?)?$/

/** The instant that a value names: an ISO 8601 text (UTC where it has no zone). NaN for anything else. */
export function instantOf(value: Json): number {
  if (typeof value !== 'string') return Number.NaN
  const parts = DATE.exec(value)
  if (!parts) return Number.NaN
  const [, day = '', time = '00:00', zone = 'Z'] = parts
  if (!isInCalendar(day)) return Number.NaN
  const offset = zone.length === 5 ? `${zone.slice(0, 3)}:${zone.slice(3)}` : zone.length === 3 ? `${zone}:00` : zone.toUpperCase()
  return Date.parse(`${day}T${time}${offset}`)
}

/** JavaScript reads February 30 as March 2. */
function isInCalendar(day: string): boolean {
  if (Number(day.slice(8)) <= 28) return true
  const start = Date.parse(`${day}T00:00Z`)
  return !Number.isNaN(start) && new Date(start).toISOString().startsWith(day)
}
