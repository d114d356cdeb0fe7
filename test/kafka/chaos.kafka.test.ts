// A short run of what `npm run test:chaos` does at length, and that its verifier is not blind.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { must } from '../../src/core/assert.ts'
import { brokenLaws, type Evidence, isFollowedUp } from './chaos-laws.ts'
import { type ChaosOutcome, runChaos } from './chaos-run.ts'
import { shortScript } from './chaos-script.ts'

const seed = Number(process.env.TRIBUTARY_SEED ?? 1)
let outcome: ChaosOutcome
const said: string[] = []

beforeAll(async () => {
  const say = (what: string): void => void said.push(what)
  const sizes = { people: 150, perSecond: 60, partitions: 8 }
  outcome = await runChaos({ seed, script: shortScript(seed), clock: 'manual', tellsProfiles: true, deleteEveryMs: 0, ...sizes, say })
}, 400_000)
afterAll(() => console.log([...said, JSON.stringify(outcome?.figures)].join('\n')))

test('while processes and the broker die, stand still, come and go, and segments are edited, nothing is lost and nothing is told that the journals lack', () => {
  expect(outcome.broken).toEqual([])
  const { acknowledged = 0, takeOvers = 0, claimsWhileFrozen = 0, SIGKILL = 0, edits = 0 } = outcome.figures
  // Else it has shown nothing.
  expect(acknowledged).toBeGreaterThan(300)
  expect(takeOvers).toBeGreaterThan(0)
  expect(claimsWhileFrozen).toBeGreaterThan(0)
  expect(SIGKILL).toBeGreaterThan(0)
  expect(edits).toBe(4)
  expect(outcome.evidence.outputs.streams.transitions.values().some(({ value }) => value?.includes('"definition"'))).toBe(true)
})

/** Each makes the evidence false in one way, and says how it is made true again. */
const LIES: Readonly<Record<string, (e: Evidence) => () => void>> = {
  'outputs are those of commits that count: a transition that is lost': ({ outputs }) => {
    const [id, told] = first(outputs.streams.transitions)
    outputs.streams.transitions.delete(id)
    return () => outputs.streams.transitions.set(id, told)
  },
  'outputs are those of commits that count: a transition of no commit': ({ outputs }) => {
    const [, told] = first(outputs.streams.transitions)
    outputs.streams.transitions.set('0-999999', { ...told, origin: 0, seq: 999_999 })
    return () => outputs.streams.transitions.delete('0-999999')
  },
  'outputs are those of commits that count: another text than was committed': ({ outputs }) => {
    const [id, told] = first(outputs.streams.merges)
    outputs.streams.merges.set(id, { ...told, value: `${told.value} ` })
    return () => outputs.streams.merges.set(id, told)
  },
  'outputs are those of commits that count: a transition that nobody takes': ({ outputs }) => {
    const [id] = first(outputs.streams.transitions)
    outputs.passedOver.transitions.add(id)
    return () => outputs.passedOver.transitions.delete(id)
  },
  'outputs are those of commits that count: a state that nobody takes, and no newer one': ({ outputs }) => {
    const told = outputs.streams.profiles
    const [id] = must(
      [...told].find(([, output]) => !isFollowedUp(output, told)),
      'somebody has a last state',
    )
    outputs.passedOver.profiles.add(id)
    return () => outputs.passedOver.profiles.delete(id)
  },
  'what is acknowledged is counted once: a message that was acknowledged and is nowhere': ({ acknowledged }) => {
    const set = acknowledged as Set<string>
    set.add('lost')
    return () => set.delete('lost')
  },
  'what is acknowledged is counted once: an event that is not counted': ({ history }) => {
    const counted = history.counted as Map<string, never>
    const [hash, record] = first(counted)
    counted.delete(hash)
    return () => counted.set(hash, record)
  },
  'messages are those of commits that count: a message of nobody': ({ exchange }) => {
    exchange.messages.set('0>1:999999', 'anything')
    return () => exchange.messages.delete('0>1:999999')
  },
  'definitions are those that were saved, and reach everybody: an edit that is lost': ({ definitions }) => {
    const change = must(definitions.changes.pop(), 'there were edits')
    return () => definitions.changes.push(change)
  },
  'profiles are those of the oracle: a trait that nobody gave': ({ shown }) => {
    const profiles = shown.profiles as Map<string, never>
    const [id, view] = first(profiles)
    profiles.set(id, { ...(view as object), traits: { plan: 'none' } } as never)
    return () => profiles.set(id, view)
  },
}

function first<K, V>(map: ReadonlyMap<K, V>): [K, V] {
  return must([...map][0], 'there is something')
}

test.each(Object.entries(LIES))('the verifier sees that %s', (name, lie) => {
  const undo = lie(outcome.evidence)
  const broken = brokenLaws(outcome.evidence)
  undo()
  expect(broken.map((line) => line.split(':')[0])).toContain(name.split(':')[0])
  expect(brokenLaws(outcome.evidence)).toEqual(outcome.broken)
})
