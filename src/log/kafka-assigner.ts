// Who should own which partition, among the members of a group: pure. The group's leader computes it, everybody follows.
//
// 1. Every partition has one owner, and the shares of any two members differ by at most one.
// 2. Sticky: a partition stays with its owner unless that one has more than its share. So a member that joins or leaves moves only
//    what must move.
// 3. What two claim stays with the one that claims under the name it has now: the other was thought dead and has come back.
// 4. The result does not depend on the order in which members are given.
import { must } from '../core/assert.ts'

export interface Member {
  readonly id: string
  /** The name under which it got what it owns; another than `id`, or empty, when it had to join anew. */
  readonly holder: string
  readonly owned: readonly number[]
}

export function assignSticky(members: readonly Member[], partitions: number): Map<string, number[]> {
  const sorted = members.toSorted((a, b) => (a.id < b.id ? -1 : 1))
  const owners = claims(sorted, partitions)
  const kept = new Map(sorted.map((m): [string, number[]] => [m.id, []]))
  for (const [p, id] of [...owners].toSorted(([a], [b]) => a - b)) must(kept.get(id), 'only members claim').push(p)
  const share = Math.floor(partitions / Math.max(1, sorted.length))
  // The larger shares go to those who have the most: that moves the least (2).
  const byKept = [...kept].toSorted(([a, has], [b, hasToo]) => hasToo.length - has.length || (a < b ? -1 : 1))
  const left = new Set(Array.from({ length: partitions }, (_, p) => p))
  const quotas = byKept.map(([, own], i) => {
    const quota = share + (i < partitions % byKept.length ? 1 : 0)
    own.splice(quota)
    for (const p of own) left.delete(p)
    return quota
  })
  const free = [...left]
  byKept.forEach(([, own], i) => {
    own.push(...free.splice(0, must(quotas[i], 'one per member') - own.length))
    own.sort((a, b) => a - b)
  })
  return kept
}

/** Partition → who keeps it if the shares allow. */
function claims(sorted: readonly Member[], partitions: number): Map<number, string> {
  const owners = new Map<number, string>()
  for (const isNamesake of [true, false]) {
    for (const m of sorted) {
      if ((m.holder === m.id) !== isNamesake) continue
      for (const p of m.owned) if (p >= 0 && p < partitions && !owners.has(p)) owners.set(p, m.id)
    }
  }
  return owners
}

/** What a member tells of itself when it joins. */
export function encodeClaims(holder: string, owned: readonly number[], address = ''): Buffer {
  return Buffer.from(JSON.stringify({ holder, owned, address }))
}

/** Where a member answers the others; an empty text where it doesn't say. */
export function decodeAddress(bytes: Buffer): string {
  try {
    const { address } = JSON.parse(String(bytes)) as { address?: unknown }
    return typeof address === 'string' ? address : ''
  } catch {
    return ''
  }
}

/** A member of another version may tell anything: then it owns nothing. */
export function decodeClaims(bytes: Buffer): Omit<Member, 'id'> {
  try {
    const { holder, owned } = JSON.parse(String(bytes)) as { holder?: unknown; owned?: unknown }
    const numbers = Array.isArray(owned) ? owned.filter((p): p is number => Number.isInteger(p)) : []
    return { holder: typeof holder === 'string' ? holder : '', owned: numbers }
  } catch {
    return { holder: '', owned: [] }
  }
}
