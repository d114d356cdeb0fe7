// From a record to a Segment message, field by field. Each field is a constant or begins with $:
//
//   $              the whole value              $key         the record's key, as text
//   $.a.b[0]       what lies there in it        $header.x    the newest header x, as text
//   $["a.b"]       a name that needs quotes     $timestamp   the record's instant
//   $$5            the constant "$5"            $topic, $partition, $offset
//
// `properties`, `traits` and `context` may be maps of these. What isn't there is left out.
import { TributaryError } from '../../core/errors.ts'
import type { Json, JsonObject } from '../../core/event.ts'
import type { SourceRecord } from '../../log/record-group.ts'

export interface Positioned extends SourceRecord {
  readonly topic: string
  readonly partition: number
}

export type TimestampUnit = 'ms' | 's' | 'us' | 'ns'

export interface MappingOptions {
  readonly [field: string]: unknown
}

/** Gives the message that a value stands for. */
export type Mapping = (value: Json, record: Positioned) => JsonObject

type Pick = (value: Json, record: Positioned) => Json | undefined

const MS_PER: { readonly [unit in TimestampUnit]: number } = { s: 1000, ms: 1, us: 1e-3, ns: 1e-6 }

/** Throws invalid_config; `where` says whose mapping it is. */
export function compileMapping(options: MappingOptions, unit: TimestampUnit, where: string): Mapping {
  const picks = Object.entries(options).map(([field, given]) => {
    const pick = compile(given, `${where}.${field}`)
    return [field, field === 'timestamp' ? inUnit(pick, unit) : pick] as const
  })
  return (value, record) => pickAll(picks, value, record)
}

function pickAll(picks: readonly (readonly [string, Pick])[], value: Json, record: Positioned): JsonObject {
  const message: JsonObject = {}
  for (const [field, pick] of picks) {
    const picked = pick(value, record)
    if (picked !== undefined) message[field] = picked
  }
  return message
}

function compile(given: unknown, where: string): Pick {
  if (typeof given === 'string') return given.startsWith('$') ? compileReference(given, where) : () => given
  if (Array.isArray(given)) {
    const picks = given.map((item, i) => compile(item, `${where}[${i}]`))
    return (value, record) => picks.map((pick) => pick(value, record) ?? null)
  }
  if (typeof given === 'object' && given !== null) {
    const picks = Object.entries(given).map(([name, inner]) => [name, compile(inner, `${where}.${name}`)] as const)
    return (value, record) => pickAll(picks, value, record)
  }
  const constant = given as Json
  return () => constant
}

const FACTS: { readonly [name: string]: Pick } = {
  $key: (_, { key }) => key?.toString('utf8'),
  $timestamp: (_, { stamp }) => (stamp > 0 ? new Date(stamp).toISOString() : undefined),
  $topic: (_, { topic }) => topic,
  $partition: (_, { partition }) => partition,
  $offset: (_, { offset }) => offset,
}

function compileReference(text: string, where: string): Pick {
  if (text.startsWith('$$')) {
    const constant = text.slice(1)
    return () => constant
  }
  const fact = Object.hasOwn(FACTS, text) ? FACTS[text] : undefined
  if (fact) return fact
  const isHeader = /^\$header(?=[.[])/.test(text)
  const steps = stepsOf(text.slice(isHeader ? '$header'.length : 1))
  const [name] = steps ?? []
  if (!steps || (isHeader && (steps.length !== 1 || typeof name !== 'string')))
    throw new TributaryError('invalid_config', `${where}: ${text} is no reference such as $.a.b[0], $key, $header.name or $timestamp.`)
  return isHeader ? (_, { headers }) => headerText(headers[String(name)]) : (value) => reach(value, steps)
}

const STEP = /\.([^.[\]"]+)|\[(\d+)\]|\[("(?:[^"\\]|\\.)*")\]/y

/** `.a["b c"][0]` in steps; undefined if it isn't that. */
function stepsOf(path: string): (string | number)[] | undefined {
  const steps: (string | number)[] = []
  STEP.lastIndex = 0
  while (STEP.lastIndex < path.length) {
    const found = STEP.exec(path)
    if (!found) return undefined
    const [, name, index, quoted] = found
    if (name !== undefined) steps.push(name)
    else if (index !== undefined) steps.push(Number(index))
    else {
      const unquoted = unquote(quoted ?? '')
      if (unquoted === undefined) return undefined
      steps.push(unquoted)
    }
  }
  return steps
}

function unquote(quoted: string): string | undefined {
  try {
    return JSON.parse(quoted) as string
  } catch {
    return undefined
  }
}

function reach(value: Json, steps: readonly (string | number)[]): Json | undefined {
  let at: Json | undefined = value
  for (const step of steps) {
    if (typeof at !== 'object' || at === null) return undefined
    if (Array.isArray(at)) at = typeof step === 'number' ? at[step] : undefined
    else at = Object.hasOwn(at, step) ? at[step] : undefined
  }
  return at
}

function headerText(raw: unknown): string | undefined {
  const newest: unknown = Array.isArray(raw) ? raw.at(-1) : raw
  if (typeof newest === 'string') return newest
  return Buffer.isBuffer(newest) ? newest.toString('utf8') : undefined
}

const NUMBER = /^\d+(\.\d+)?$/

/** Numbers since 1970 in the source's unit become milliseconds; texts of another kind stay. */
function inUnit(pick: Pick, unit: TimestampUnit): Pick {
  const msPer = MS_PER[unit]
  return (value, record) => {
    const picked = pick(value, record)
    const isNumber = typeof picked === 'number' || (typeof picked === 'string' && NUMBER.test(picked))
    return isNumber ? Math.floor(Number(picked) * msPer) : picked
  }
}
