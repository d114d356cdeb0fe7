// Dittofeed's worked timelines on the engine, as test/timelines maps them.
import { expect, test } from 'vitest'
import { parseWhere } from '../../src/operators/parse.ts'
import { readTimelines, type Script, TIMELINE_START_MS } from '../timelines/mapping.ts'
import { harness } from './harness.ts'

/** Runs a script; returns how many assertions held. */
async function run(script: Script): Promise<number> {
  const h = await harness()
  let now = TIMELINE_START_MS
  let checked = 0
  let events = 0
  await h.engine.setClock(now)
  for (const step of script.steps) {
    if (step.step === 'define') {
      await h.engine.putSegment(step.segment, { where: parseWhere(step.where) })
      await h.filled()
    } else if (step.step === 'submit') {
      const messages = step.events.map(({ userId, offsetMs, message }) => {
        const instant = new Date(now + offsetMs).toISOString()
        return { ...message, userId, messageId: `m${++events}`, timestamp: instant }
      })
      await h.send(...messages)
      await h.engine.settle()
    } else if (step.step === 'sleep') {
      now += step.ms
      await h.engine.setClock(now)
    } else {
      const profile = await h.engine.profile({ namespace: 'user_id', value: step.userId })
      const seen = Object.fromEntries(Object.keys(step.segments).map((id) => [id, profile?.segments.includes(id) ?? false]))
      expect(seen, `${step.what} (${step.userId})`).toEqual(step.segments)
      checked += Object.keys(step.segments).length
    }
  }
  await h.close()
  expect(h.stopped).toEqual([])
  return checked
}

test.each(readTimelines().scripts.map((script) => [script.description, script] as const))('%s', async (_, script) => {
  expect(await run(script)).toBeGreaterThan(0)
})
