// How far the reading of a journal is, before its partition runs here: told by the host each TELL_MS, in the log now and then, in
// metrics always. Owns what is known of readings under way; they go on without it.
import type { Clock } from '../core/clock.ts'
import type { ReadProgress } from '../log/claimed.ts'

export interface Restore extends ReadProgress {
  readonly partition: number
  /** Since it began. */
  readonly forMs: number
  readonly isDone: boolean
}

const TELL_MS = 1000
/** In the log, of one partition. */
const LOG_EVERY_MS = 5000

/** Tells of the reading while `opening` is under way. */
export async function tellWhile<T>(
  opening: Promise<T>,
  reading: { readonly partition: number; progress(): ReadProgress | undefined },
  { clock, tell }: { readonly clock: Clock; readonly tell: (restore: Restore) => void },
): Promise<T> {
  const { partition } = reading
  const begunMs = clock.monotonicMs()
  let hasTold = false
  const say = (isDone: boolean): void => {
    const progress = reading.progress()
    if (!progress) return
    hasTold = true
    tell({ ...progress, partition, forMs: clock.monotonicMs() - begunMs, isDone })
  }
  let cancel = (): void => {}
  const again = (): void => {
    cancel = clock.after(TELL_MS, () => {
      say(false)
      again()
    })
  }
  again()
  try {
    return await opening
  } finally {
    cancel()
    // What was too short to be told of has not begun for anybody.
    if (hasTold) say(true)
  }
}

/** What the hosts of a process have told. */
export class Restores {
  readonly #inform: (message: string) => void
  readonly #underWay = new Map<number, { readonly restore: Restore; readonly loggedMs: number }>()

  constructor(inform: (message: string) => void) {
    this.#inform = inform
  }

  take(restore: Restore): void {
    const { partition, forMs, isDone } = restore
    const loggedMs = this.#underWay.get(partition)?.loggedMs ?? 0
    const isToBeLogged = isDone ? forMs >= LOG_EVERY_MS : forMs - loggedMs >= LOG_EVERY_MS
    if (isToBeLogged) this.#inform(lineOf(restore))
    if (isDone) this.#underWay.delete(partition)
    else this.#underWay.set(partition, { restore, loggedMs: isToBeLogged ? forMs : loggedMs })
  }

  get underWay(): Restore[] {
    return [...this.#underWay.values()].map(({ restore }) => restore)
  }
}

/** Undefined while nothing was read. */
export function restSeconds({ read, total, forMs }: Restore): number | undefined {
  return read === 0 ? undefined : ((total - read) * forMs) / read / 1000
}

function lineOf(restore: Restore): string {
  const { partition, read, total, bytes, forMs, isDone } = restore
  const amount = `${(bytes / 1e6).toFixed(1)} MB`
  if (isDone) return `partition ${partition}: ${read} records of its journal were read, ${amount}, in ${Math.round(forMs / 1000)} s`
  const rate = `${Math.round((read * 1000) / forMs)} a second`
  const rest = restSeconds(restore)
  const left = rest === undefined ? 'it is not known how long it takes' : `about ${Math.round(rest)} s to go`
  return `partition ${partition}: ${read} of ${total} records of its journal are read, ${amount}, ${rate}, ${left}`
}
