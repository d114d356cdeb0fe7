import { describe, expect, test } from 'vitest'
import { parseWhere } from '../../src/operators/parse.ts'
import { SegmentOracle } from '../oracle/segments.ts'
import { readTimelines, type Script, TIMELINE_START_MS } from './mapping.ts'

const { scripts, unsupported } = readTimelines()

/** Runs a script against one oracle per user; returns how many assertions held. */
function run(script: Script): number {
  let now = TIMELINE_START_MS
  let checked = 0
  let events = 0
  const users = new Map<string, SegmentOracle>()
  const wheres = new Map<string, ReturnType<typeof parseWhere>>()
  const oracleOf = (userId: string): SegmentOracle => {
    const oracle = users.get(userId) ?? new SegmentOracle()
    if (!users.has(userId)) for (const [id, where] of wheres) oracle.define(id, where, now)
    users.set(userId, oracle)
    return oracle
  }
  for (const step of script.steps) {
    if (step.step === 'define') {
      wheres.set(step.segment, parseWhere(step.where))
      for (const oracle of users.values()) oracle.define(step.segment, parseWhere(step.where), now)
    } else if (step.step === 'submit') {
      for (const { userId, offsetMs, message } of step.events) {
        const messageId = `m${++events}`
        const name = message.type === 'track' ? String(message.event) : `$${String(message.type)}`
        oracleOf(userId).apply({ name, at: now + offsetMs, message, messageId, messageHash: messageId, sourcePriority: 100 }, now)
      }
    } else if (step.step === 'sleep') {
      now += step.ms
      for (const oracle of users.values()) oracle.advance(now)
    } else {
      const seen = Object.fromEntries(Object.keys(step.segments).map((id) => [id, oracleOf(step.userId).segments.includes(id)]))
      expect(seen, `${step.what} (${step.userId})`).toEqual(step.segments)
      checked += Object.keys(step.segments).length
    }
  }
  return checked
}

describe("Dittofeed's timelines against the oracle", () => {
  test.each(scripts.map((script) => [script.description, script] as const))('%s', (_description, script) => {
    expect(run(script)).toBeGreaterThan(0)
  })

  test('what has no counterpart is known', () => {
    expect(scripts.length + unsupported.length).toBe(25)
    expect(unsupported.map(({ description, reason }) => `${description}: ${reason.split(' ')[0]}`)).toEqual([
      'computes HasBeen operator trait segment with less than comparator: HasBeen',
      'last performed segment: LastPerformed',
      'last performed segment with not exists operator: LastPerformed',
      'last performed segment with less than operator: LastPerformed',
      'manual segment: Manual',
      'with a random bucket segment: RandomBucket',
    ])
  })
})
