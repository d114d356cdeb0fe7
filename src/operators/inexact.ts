// How often a state has lost what one of its readings may notice (operator.ts 3), in this thread, ever. A tally for the metrics: no
// result depends on it.
let times = 0

export function noteInexact(): void {
  times++
}

export function inexactTimes(): number {
  return times
}
