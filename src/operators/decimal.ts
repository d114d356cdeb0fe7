// Exact decimal sums. A number's decimal is the shortest that reads back as the double, so 0.1 + 0.2 is 0.3, in any order.
//
// A Decimal is an integer count of millionths in a JavaScript number while that is exact (below 2^52), else an integer count
// of 10^-46 as a BigInt: enough for every double from 10^-30 to 10^30. Each value has exactly one of the two forms.
import { must } from '../core/assert.ts'
import type { Reader, Writer } from '../core/bytes.ts'
import type { Json } from '../core/event.ts'

export type Decimal = number | bigint

const MILLION = 1e6
const SAFE = 2 ** 52
/** Below this many millionths (15 digits) two different decimals never read as the same double. */
const UNAMBIGUOUS = 1e15
const FINE_DIGITS = 46
const FINE_PER_MILLIONTH = 10n ** 40n
const LARGEST = 1e30
const SMALLEST = 1e-30

/** Whether a value is a number that sums, averages and extremes take; others count as absent. */
export function isCountable(value: Json): value is number {
  if (typeof value !== 'number') return false
  const size = Math.abs(value)
  return size === 0 || (size >= SMALLEST && size <= LARGEST)
}

const NUMBER = /^(-?)(\d+)(?:\.(\d+))?(?:e([+-]\d+))?$/

/** The shortest decimal of a finite double as digits · 10^exponent. */
function digitsOf(x: number): { digits: bigint; exponent: number } {
  const [, sign, whole, fraction = '', exponent = '0'] = must(NUMBER.exec(String(x)), 'a finite number prints as a decimal')
  return { digits: BigInt(`${sign}${whole}${fraction}`), exponent: Number(exponent) - fraction.length }
}

const fine = (x: Decimal): bigint => (typeof x === 'bigint' ? x : BigInt(x) * FINE_PER_MILLIONTH)

function settled(x: bigint): Decimal {
  if (x % FINE_PER_MILLIONTH !== 0n) return x
  const millionths = Number(x / FINE_PER_MILLIONTH)
  return millionths < SAFE && millionths > -SAFE ? millionths : x
}

/** The decimal of a countable number. */
export function decimalOf(x: number): Decimal {
  const millionths = Math.round(x * MILLION)
  if (millionths < UNAMBIGUOUS && millionths > -UNAMBIGUOUS && millionths / MILLION === x) return millionths
  const { digits, exponent } = digitsOf(x)
  return settled(digits * 10n ** BigInt(FINE_DIGITS + exponent))
}

export function plus(a: Decimal, b: Decimal): Decimal {
  if (typeof a === 'number' && typeof b === 'number') {
    const sum = a + b
    if (sum < SAFE && sum > -SAFE) return sum
  }
  return settled(fine(a) + fine(b))
}

export function minus(a: Decimal, b: Decimal): Decimal {
  return plus(a, -b)
}

/** The nearest double, for people to read. */
export function numberOf(x: Decimal): number {
  return typeof x === 'number' ? x / MILLION : Number(`${x}e-${FINE_DIGITS}`)
}

/** A number to compare decimals with: any finite double, exactly. */
export interface Threshold {
  /** In millionths, or NaN where that is not exact. */
  readonly millionths: number
  /** The threshold is units / factor, in 10^-46. */
  readonly units: bigint
  readonly factor: bigint
}

export function thresholdOf(x: number): Threshold {
  const { digits, exponent } = digitsOf(x)
  const power = FINE_DIGITS + exponent
  const units = power >= 0 ? digits * 10n ** BigInt(power) : digits
  const factor = power >= 0 ? 1n : 10n ** BigInt(-power)
  const short = factor === 1n ? settled(units) : units
  return { millionths: typeof short === 'number' ? short : Number.NaN, units, factor }
}

/** The sign of sum - n · threshold: how an average of n values compares without dividing. */
export function compareTimes(sum: Decimal, n: number, threshold: Threshold): number {
  if (typeof sum === 'number') {
    const product = n * threshold.millionths
    if (product < SAFE && product > -SAFE) return sum - product
  }
  const [left, right] = [fine(sum) * threshold.factor, BigInt(n) * threshold.units]
  return left < right ? -1 : left > right ? 1 : 0
}

export function encodeDecimals(values: readonly Decimal[], w: Writer): void {
  const small = values.every((x) => typeof x === 'number')
  w.u8(small ? 0 : 1)
  for (const x of values) {
    if (small) w.zigzag(Number(x))
    else w.text(fine(x).toString(36))
  }
}

export function decodeDecimals(r: Reader, count: number): Decimal[] {
  const small = r.u8() === 0
  const values: Decimal[] = []
  for (let i = 0; i < count; i++) values.push(small ? r.zigzag() : settled(parseFine(r.text())))
  return values
}

function parseFine(text: string): bigint {
  let x = 0n
  const negative = text.startsWith('-')
  for (const c of negative ? text.slice(1) : text) x = x * 36n + BigInt(Number.parseInt(c, 36))
  return negative ? -x : x
}
