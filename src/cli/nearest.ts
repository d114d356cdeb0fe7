// "Did you mean …?"

const FARTHEST = 3

/** A suggestion in front of which `prefix` is put, or nothing where no name is near. */
export function nearest(name: string, known: readonly string[], prefix = ''): string {
  let best: string | undefined
  let least = FARTHEST + 1
  for (const candidate of known) {
    const distance = candidate.startsWith(name) && name.length > 1 ? 1 : editDistance(name, candidate)
    if (distance < least && distance < Math.max(name.length, 2)) {
      least = distance
      best = candidate
    }
  }
  return best === undefined ? '' : ` Did you mean ${prefix}${best}?`
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? 0
}
