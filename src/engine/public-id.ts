// Public profile ids: 16 bytes, shown as 26 characters of Crockford's base 32.
//
//   time of founding (6) · top bits of the founder's hash (2) · more of that hash, mixed with the generation (8)
//
// 1. Ids sort by the time of founding, so of two ids the older is the smaller text.
// 2. The founding partition follows from the id for any number of partitions.
// 3. An id is a function of (founding key, first event): a replayed founding yields the same id.
import { sortable } from '../core/bytes.ts'
import { generationOf, hash128, homeOf, type ProfileKey } from '../core/identifier.ts'

const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz'
const LENGTH = 26

/** The 16 bytes, as a binary string. */
export function mintPublicId(key: ProfileKey, foundedAt: number): string {
  const tail = generationOf(key) === 0 ? key.slice(3, 11) : hash128(key).slice(0, 8)
  return sortable(Math.max(0, foundedAt), 6) + key.slice(1, 3) + tail
}

export function publicIdText(id: string): string {
  let text = ''
  // 26 characters hold 130 bits: the first two are zero.
  let [bits, count] = [0, 2]
  for (let i = 0; i < 16; i++) {
    bits = ((bits << 8) | id.charCodeAt(i)) & 0xfff
    for (count += 8; count >= 5; count -= 5) text += ALPHABET.charAt((bits >> (count - 5)) & 31)
  }
  return text
}

/** The 16 bytes of a text, or undefined when it isn't a public id. */
export function parsePublicId(text: string): string | undefined {
  if (text.length !== LENGTH) return undefined
  let bits = 0n
  for (const character of text.toLowerCase()) {
    const digit = ALPHABET.indexOf(character)
    if (digit < 0) return undefined
    bits = (bits << 5n) | BigInt(digit)
  }
  if (bits >> 128n !== 0n) return undefined
  let id = ''
  for (let i = 15; i >= 0; i--) id += String.fromCharCode(Number((bits >> BigInt(8 * i)) & 255n))
  return id
}

export const publicIdHome = (id: string, partitions: number): number => homeOf(` ${id.slice(6, 8)}`, partitions)
