// The text of an ingestion's position: per partition the end of what was appended. Opaque to users.
import { TributaryError } from '../core/errors.ts'
import type { Ends } from './questions.ts'

export function positionText(ends: Ends): string {
  return ends.length === 0 ? '0' : ends.map(([partition, input]) => `${partition.toString(36)}.${input.toString(36)}`).join('-')
}

export function endsOf(text: string, partitions: number): Ends {
  if (text === '0') return []
  return text.split('-').map((part) => {
    const m = /^([0-9a-z]{1,4})\.([0-9a-z]{1,11})$/.exec(part)
    const partition = m ? Number.parseInt(m[1] ?? '', 36) : partitions
    if (!m || partition >= partitions)
      throw new TributaryError('invalid_request', `min-position: "${text}" is not a position from an ingestion reply`)
    return [partition, Number.parseInt(m[2] ?? '', 36)] as const
  })
}
