// What a partition's logs and store must agree on before it runs: events ≥ journal ≥ outputs and journal ≥ store, in the order in
// which they became durable. Owns that judgement only.
//
// 1. What was read must still be there: a log that lost its end would give new records the positions of old ones.
// 2. What was relayed must still be in its stream's log, and that log has nothing that the journal does not know: else ids would
//    repeat, or a new entry would be taken for a repeat and be refused.
import { TributaryError } from '../core/errors.ts'
import { STREAMS, type Stream } from './outbox.ts'
import type { TaskState } from './task-state.ts'

/** Per stream the last seq that its log has of a partition; undefined when retention has dropped the record that says so. */
export type OutputEnds = Readonly<Record<Stream, number | undefined>>

export interface LogEnds {
  /** The position behind the last event. */
  readonly events: number
  readonly journal: number
  /** The journal position that the store has taken in, -1 for none. */
  readonly applied: number
  readonly outputs: OutputEnds
}

/** Why a partition must not run: what it has written down can't have come from these logs. */
export function disagreement(state: TaskState, ends: LogEnds): TributaryError | undefined {
  const what = eventsAndStore(state.input, ends) ?? outputs(state, ends.outputs)
  return what === undefined ? undefined : new TributaryError('data_corrupt', what)
}

function eventsAndStore(input: number, { events, journal, applied }: LogEnds): string | undefined {
  if (input > events) return `events were read up to ${input}, but their log ends at ${events}`
  if (applied >= journal) return `its store is at journal position ${applied}, but the journal ends at ${journal}`
  return undefined
}

function outputs(state: TaskState, ends: OutputEnds): string | undefined {
  for (const stream of STREAMS) {
    const [end, relayed, given] = [ends[stream], state.relayed[stream], state.seqs[stream]]
    if (end === undefined) continue
    if (end < relayed) return `${stream} were relayed up to ${relayed}, but their log ends at ${end}`
    if (end > given) return `the log of ${stream} is at ${end}, but the journal knows ${given} only`
  }
  return undefined
}
