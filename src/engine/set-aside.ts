// An input whose execution throws is set aside: dead-lettered, and passed. Owns what is said of it.
import type { Batch } from './batch.ts'
import type { Input } from './execute.ts'
import type { Memory } from './memory.ts'
import { NEVER, Profile } from './profile.ts'
import { publicIdText } from './public-id.ts'
import type { TaskState } from './task-state.ts'

export interface SettingAside {
  readonly batch: Batch
  readonly state: TaskState
  /** Has the row of the input's profile. */
  readonly memory: Memory
  touch(p: Profile): void
}

/** Throws the error again where the input can't be passed: without it the partition would be wrong. */
export function setAside(input: Input, error: Error, { batch, state, memory, touch }: SettingAside): void {
  if (input.kind === 'exchange' || input.kind === 'clock' || input.kind === 'definitions' || input.kind === 'swept') throw error
  const reason = `${error.name}: ${error.message}`
  batch.inputs++
  if (input.kind === 'event' || input.kind === 'unreadable') {
    state.input = input.next
    const message = input.kind === 'event' ? { messageId: input.event.record.messageId, event: input.event.record.name } : undefined
    batch.deadLetters.add({ code: 'execution_failed', reason, at: state.now, message })
    return
  }
  const row = memory.row(input.key)
  const message = row instanceof Profile && row.segments ? { profile: publicIdText(row.publicId) } : undefined
  batch.deadLetters.add({ code: 'execution_failed', reason: `${input.kind} of a profile: ${reason}`, at: state.now, message })
  // Whatever touches the profile next arms it again.
  if (input.kind === 'timer' && row instanceof Profile && row.armedAt === input.due) {
    row.armedAt = NEVER
    touch(row)
  }
}
