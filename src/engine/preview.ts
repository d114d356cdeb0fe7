// How large a segment would be: evaluates an unsaved definition on every profile of a host, on throw-away states.
// Owns nothing; reads in pages, so that live work goes on between them.
import type { Where } from '../operators/definition.ts'
import { ownedOf } from './answers.ts'
import type { HostView } from './host-view.ts'
import { prefixRange, profileKeyOf } from './keys.ts'
import { AppliedEvent, decodeProfileRow, decodeTimelineRow, Profile } from './profile.ts'
import type { Answer } from './questions.ts'
import { type Preview, previewOf } from './segment-state.ts'
import type { Task } from './task.ts'

const PROFILES_PER_PAGE = 128

export async function preview(host: HostView, where: Where): Promise<Answer> {
  const plan = previewOf(where)
  let size = 0
  let total = 0
  const tasks = [...host.tasks.values()]
  const of = ownedOf(tasks)
  for (const task of tasks) {
    const scan = task.rows.scan(prefixRange('p'))
    for (;;) {
      const page = await scan.next(PROFILES_PER_PAGE)
      if (page.length === 0) break
      for (const [rowKey, value] of page) {
        const p = decodeProfileRow(profileKeyOf(rowKey), value)
        if (!(p instanceof Profile) || !p.segments) continue
        total++
        if (await holds(task, p, plan)) size++
      }
      await host.pause()
    }
    await scan.close()
  }
  return { kind: 'preview', size, total, of }
}

async function holds(task: Task, p: Profile, plan: Preview): Promise<boolean> {
  const now = Math.max(task.state.now, p.asOf)
  const oldest = now - task.limits.timelineRetentionMs
  const events: AppliedEvent[] = []
  if (plan.readsEvents) {
    const scan = task.rows.scan(prefixRange(`t${p.key}`))
    for (;;) {
      const page = await scan.next(1000)
      if (page.length === 0) break
      for (const [, value] of page) {
        const { record } = decodeTimelineRow(value)
        if (record.at <= now && record.at >= oldest) events.push(new AppliedEvent(record))
      }
    }
    await scan.close()
  }
  return plan.holds({ traits: { get: (name) => p.trait(name) }, timeline: events, now })
}
