// Instants in messages: ISO 8601 texts, strictly. What JavaScript's own parser accepts beyond that depends on the machine's
// time zone or is a guess ("1" is the year 2001), so it is refused here.

const ISO = /^([+-]\d{6}|\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?)\s?(Z|z|[+-]\d\d(?::?\d\d)?)?)?$/
/** Numbers below this would be 1973 as milliseconds: they are seconds, or a mistake. */
const LEAST_MS = 1e11

/** Milliseconds since 1970, or NaN. A text without a zone is UTC. */
export function parseInstant(raw: unknown): number {
  if (typeof raw === 'string') {
    if (raw.length === 24 && raw[23] === 'Z' && raw[10] === 'T' && raw[4] === '-') return Date.parse(raw)
    return parseIso(raw)
  }
  if (typeof raw === 'number' && raw >= LEAST_MS && raw <= 8.64e15) return Math.floor(raw)
  return Number.NaN
}

function parseIso(text: string): number {
  const parts = ISO.exec(text.trim())
  if (!parts) return Number.NaN
  const [, year, month, day, time, zone] = parts
  if (time === undefined) return Date.parse(`${year}-${month}-${day}T00:00:00Z`)
  let offset = zone === undefined ? 'Z' : zone.toUpperCase()
  if (offset.length === 3) offset += ':00'
  else if (offset.length === 5) offset = `${offset.slice(0, 3)}:${offset.slice(3)}`
  return Date.parse(`${year}-${month}-${day}T${time.replace(',', '.')}${offset}`)
}
