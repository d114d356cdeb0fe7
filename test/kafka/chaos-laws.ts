// What must hold between all that was accepted, all that the journals say and all that came out. Owns nothing; every law says what breaks it.
import kafkajs from 'kafkajs'
import type { ShownTransition } from '../../src/cli/follow.ts'
import { must } from '../../src/core/assert.ts'
import { decodeEvent } from '../../src/core/event.ts'
import type { ProfileView } from '../../src/engine/engine.ts'
import { decodeExchange } from '../../src/engine/exchange-record.ts'
import { decodeInput } from '../../src/engine/inputs.ts'
import { OUTBOX_STREAMS, type OutboxStream } from '../../src/engine/outbox.ts'
import { publicIdText } from '../../src/engine/public-id.ts'
import { unpackValue } from '../../src/log/kafka-pack.ts'
import { canonicalText } from '../../src/operators/canonical.ts'
import type { Where } from '../../src/operators/definition.ts'
import { Replay } from '../sim/replay.ts'
import type { DefinitionBook } from './chaos-definitions.ts'
import { type History, historyOf } from './chaos-history.ts'
import { digestOf, type JournalBook, messageName } from './chaos-journal.ts'
import type { Output, OutputBook } from './chaos-outputs.ts'
import type { SeenRecord } from './chaos-topics.ts'
import { explain, lineOf, opsOf } from './chaos-ways.ts'

/** What was accepted: the engine's events topic, and the topic of the source. */
export class InputBook {
  /** By message hash, the id; repeats are one. */
  readonly events = new Map<string, string>()
  readonly ids = new Set<string>()
  /** Ids that the source's records have, or get. */
  readonly sourced = new Set<string>()
  /** Records of the source that nobody can read, as `<partition>/<offset>`. */
  readonly poison = new Set<string>()
  eventRecords = 0

  takeEvents({ topic, partition, offset, value }: SeenRecord): void {
    const input = decodeInput(unpackValue(value, `${topic}/${partition}/${offset}`))
    if (input.kind !== 'events') return
    for (const bytes of input.events) {
      const { messageHash, messageId } = decodeEvent(bytes)
      this.eventRecords++
      this.events.set(messageHash, messageId)
      this.ids.add(messageId)
    }
  }

  takeSource(source: string, { topic, partition, offset, stamp, value }: SeenRecord): void {
    const text = String(value)
    if (text.startsWith('poison')) {
      this.poison.add(`${partition}/${offset}`)
      return
    }
    const { messageId } = JSON.parse(text) as { messageId?: string }
    this.sourced.add(messageId ?? `${source}/${topic}/${partition}/${offset}/${stamp.toString(36)}`)
  }

  /** What of the source is not in the events topic yet. */
  get missing(): string[] {
    return [...this.sourced].filter((id) => !this.ids.has(id))
  }
}

/** What processes said to one another. */
export class ExchangeBook {
  /** Digests, by `<origin>><target>:<seq>`. */
  readonly messages = new Map<string, string>()
  readonly faults: string[] = []

  take({ topic, partition, offset, value }: SeenRecord): void {
    for (const entry of decodeExchange(unpackValue(value, `${topic}/${partition}/${offset}`))) {
      if (entry.t !== 'message') continue
      const name = messageName(entry.origin, partition, entry.seq)
      // None in these runs is so large that it comes in parts.
      const digest = entry.parts > 1 ? 'in parts' : digestOf(entry.bytes)
      const known = this.messages.get(name)
      if (known !== undefined && known !== digest) this.faults.push(`the message ${name} came as two`)
      this.messages.set(name, digest)
    }
  }
}

type Books = Pick<Evidence, 'journal' | 'definitions' | 'outputs'>

/** What the deployment shows in the end. */
export interface Shown {
  readonly profiles: ReadonlyMap<string, ProfileView>
  readonly sizes: ReadonlyMap<string, number>
  readonly members: ReadonlyMap<string, readonly string[]>
  readonly count: number
  readonly trouble: readonly string[]
}

export interface Evidence {
  readonly partitions: number
  readonly definitions: DefinitionBook
  readonly acknowledged: ReadonlySet<string>
  /** Ids of messages that had to be refused. */
  readonly bad: ReadonlySet<string>
  readonly input: InputBook
  readonly journal: JournalBook
  readonly exchange: ExchangeBook
  readonly outputs: OutputBook
  readonly history: History
  readonly replay: Replay
  readonly shown: Shown
}

/** Leads the oracle through what the journals say, up to `now`. */
export function replayed({ journal, definitions, outputs }: Books, now: number): { history: History; replay: Replay; open: number } {
  const { changes } = definitions
  const history = historyOf(journal.commits)
  const open = explain({ parts: history.parts, changes, transitions: transitionsOf(outputs), now })
  const replay = new Replay(new Map([...history.parts].map(([key, parts]) => [key, opsOf(parts)])), changes)
  replay.advance(now)
  return { history, replay, open }
}

export function brokenLaws(e: Evidence): string[] {
  const laws: Readonly<Record<string, () => string[]>> = {
    'the journals are sound': () => [...e.journal.faults, ...e.history.faults],
    'what is acknowledged is counted once': () => countedFaults(e),
    'outputs are those of commits that count': () => OUTBOX_STREAMS.flatMap((stream) => outputFaults(e, stream)),
    'repeats are equal': () => e.outputs.faults,
    'messages are those of commits that count': () => messageFaults(e),
    'sequences have no gaps and alternate': () => sequenceFaults(transitionsOf(e.outputs)),
    'transitions are those of the oracle': () => transitionFaults(e),
    'merges are those of the oracle': () => mergeFaults(e),
    'bad input is set aside': () => letterFaults(e),
    'profiles are those of the oracle': () => profileFaults(e),
    'definitions are those that were saved, and reach everybody': () => definitionFaults(e),
    'segments have the members of the oracle': () => memberFaults(e),
    'identifiers are together that were linked': () => identityFaults(e),
    'states of profiles are those in the end': () => stateFaults(e),
    'the deployment is well': () => [...e.shown.trouble],
  }
  return Object.entries(laws).flatMap(([law, faults]) => {
    const list = faults()
    const more = list.length > 5 ? [`… ${list.length - 5} more`] : []
    return [...list.slice(0, 5), ...more].map((fault) => `${law}: ${fault}`)
  })
}

function countedFaults({ acknowledged, input, history }: Evidence): string[] {
  const counted = new Set([...history.counted.values()].map((record) => record.messageId))
  const here = [...history.counted.keys()].filter((hash) => !input.events.has(hash))
  return [
    ...[...acknowledged].filter((id) => !input.ids.has(id)).map((id) => `${id} is acknowledged and not in the events topic`),
    ...input.missing.map((id) => `${id} of the source is not in the events topic`),
    ...[...input.events].filter(([hash]) => !history.counted.has(hash)).map(([, id]) => `${id} is in the events topic and not counted`),
    ...here.map((hash) => `${history.counted.get(hash)?.messageId} is counted and not in the events topic`),
    ...[...acknowledged, ...input.sourced].filter((id) => !counted.has(id)).map((id) => `${id} was accepted and is not counted`),
    ...(history.unclear > 0 ? [`${history.unclear} hand-overs can't be placed`] : []),
  ]
}

function messageFaults({ exchange, journal }: Evidence): string[] {
  const strange = [...exchange.messages].filter(([name, digest]) => journal.sent.get(name) !== digest)
  return [...exchange.faults, ...strange.map(([name]) => `the message ${name} left, and is in no commit that counts`)]
}

const partitionerOf = kafkajs.Partitioners.DefaultPartitioner

/** Where Kafka's own client would put it. */
function placeOf(key: string, partitions: number): number {
  const partitionMetadata = Array.from({ length: partitions }, (_, partitionId) => ({
    partitionId,
    partitionErrorCode: 0,
    leader: 1,
    replicas: [],
    isr: [],
  }))
  return partitionerOf()({ topic: '', partitionMetadata, message: { key, value: '' } })
}

function outputFaults({ journal, outputs, partitions }: Evidence, stream: OutboxStream): string[] {
  const faults: string[] = []
  const outbox = journal.outbox[stream]
  const told = outputs.streams[stream]
  for (const [id, { origin, key, value, partition }] of told) {
    // Dead letters of intake come from an origin that is no partition.
    if (stream === 'deadLetters' && origin >= partitions) continue
    const expected = outbox.get(id)
    if (!expected) faults.push(`${id} of ${stream} came out, and is in no commit that counts: ${value}`)
    else if (expected.key !== key || (stream !== 'profiles' && expected.value !== value))
      faults.push(`${id} of ${stream} came out as ${key}: ${value}; the commit says ${expected.key}: ${expected.value}`)
    if (partition !== placeOf(key ?? id, partitions)) faults.push(`${id} of ${stream} lies in partition ${partition}`)
  }
  // Of several changes of a profile close together only the last state is told.
  if (stream !== 'profiles')
    for (const id of outbox.keys()) if (!told.has(id)) faults.push(`${id} of ${stream} was committed, and never came out`)
  for (const id of outputs.passedOver[stream]) {
    const output = must(told.get(id), 'it came out')
    if (stream === 'profiles' && isFollowedUp(output, told)) continue
    faults.push(`${id} of ${stream} is new, and a consumer who remembers the highest seqs passes over it`)
  }
  return faults
}

/** Whoever takes over may join changes of a profile otherwise than the owner before him, and tell a state under a seq that the other had left out: a
 * consumer rightly passes over it, if there is a newer one, by the same partition or, since the profile has moved, by another one behind it. */
export function isFollowedUp({ key, origin, seq, place }: Output, told: ReadonlyMap<string, Output>): boolean {
  return [...told.values()].some((o) => o.key === key && (o.origin === origin ? o.seq > seq : o.place > place))
}

const transitionsOf = ({ streams }: OutputBook): ShownTransition[] =>
  [...streams.transitions.values()].map(({ value }) => JSON.parse(value ?? '') as ShownTransition)

function sequenceFaults(transitions: readonly ShownTransition[]): string[] {
  const faults: string[] = []
  for (const [pair, list] of Map.groupBy(transitions, (t) => `${t.profile} in ${t.segment}`)) {
    list.sort((a, b) => a.seq - b.seq)
    for (const [i, t] of list.entries()) {
      if (t.seq !== i + 1) faults.push(`${pair}: ${t.seq} where ${i + 1} was to come`)
      else if ((t.transition === 'entered') !== (i % 2 === 0)) faults.push(`${pair}: ${t.transition} twice, at ${t.seq}`)
    }
  }
  return faults
}

function transitionFaults(e: Evidence): string[] {
  return [
    ...e.replay.oddities,
    ...differences('came out', transitionsOf(e.outputs).map(lineOf), 'foretold', e.replay.transitions.map(lineOf)),
  ]
}

function mergeFaults({ outputs, replay }: Evidence): string[] {
  const line = (m: { survivor: string; absorbed: string; messageId?: string }): string =>
    `${m.absorbed} into ${m.survivor} by ${m.messageId}`
  const seen = [...outputs.streams.merges.values()].map(({ value }) => line(JSON.parse(value ?? '') as Parameters<typeof line>[0]))
  return differences('came out', seen, 'foretold', replay.merges.map(line))
}

/** As lists: each line as often. */
function differences(left: string, a: readonly string[], right: string, b: readonly string[]): string[] {
  const counts = new Map<string, number>()
  for (const line of b) counts.set(line, (counts.get(line) ?? 0) + 1)
  const surplus = a.filter((line) => {
    const n = counts.get(line) ?? 0
    counts.set(line, n - 1)
    return n <= 0
  })
  const missing = [...counts].filter(([, n]) => n > 0).map(([line]) => line)
  return [...surplus.map((line) => `${left}, not ${right}: ${line}`), ...missing.map((line) => `${right}, not ${left}: ${line}`)].sort()
}

interface Letter {
  readonly code: string
  readonly message?: { readonly messageId?: string; readonly partition?: number; readonly offset?: number }
}

function letterFaults({ outputs, bad, input }: Evidence): string[] {
  const letters = [...outputs.streams.deadLetters.values()].map(({ value }) => JSON.parse(value ?? '') as Letter)
  const refused = new Set(letters.filter((l) => l.code === 'no_identifier').map((l) => l.message?.messageId ?? ''))
  const unreadable = new Set(letters.filter((l) => l.code === 'unreadable').map((l) => `${l.message?.partition}/${l.message?.offset}`))
  const others = letters.filter((l) => l.code !== 'no_identifier' && l.code !== 'unreadable')
  return [
    ...differences('set aside', [...refused], 'sent', [...bad]),
    ...differences('set aside', [...unreadable], 'in the topic', [...input.poison]),
    ...others.map((l) => `nobody sent ${JSON.stringify(l)}`),
  ]
}

const sorted = (texts: Iterable<string>): string => [...texts].sort().join(' ')
const traitsText = (traits: object): string => sorted(Object.entries(traits).map((t) => JSON.stringify(t)))

function profileFaults({ replay, shown }: Evidence): string[] {
  const faults: string[] = []
  if (shown.count !== replay.living.length) faults.push(`${shown.count} profiles are counted, the oracle has ${replay.living.length}`)
  for (const { publicId, oracle } of replay.living) {
    const id = publicIdText(publicId)
    const view = shown.profiles.get(id)
    if (!view) faults.push(`${id} can't be read`)
    else if (sorted(view.segments) !== sorted(oracle.segments)) faults.push(`${id} is in ${view.segments}, foretold ${oracle.segments}`)
    else if (traitsText(view.traits) !== traitsText(Object.fromEntries(oracle.traits)))
      faults.push(`${id} has the traits ${traitsText(view.traits)}, foretold ${traitsText(Object.fromEntries(oracle.traits))}`)
  }
  return faults
}

const whereText = (definitions: ReadonlyMap<string, Where>): string[] =>
  [...definitions].map(([id, where]) => `${id} ${canonicalText(where)}`)

function definitionFaults({ definitions, journal, replay }: Evidence): string[] {
  const { changes, wanted } = definitions
  const last = changes.length
  const inactive = journal.partitions.filter(({ version }) => version !== last).map((p) => `version ${p.version} is active, not ${last}`)
  const behind = replay.living.filter(({ version }) => version < last).map((p) => `${publicIdText(p.publicId)} is at version ${p.version}`)
  return [...differences('in the topic', whereText(replay.definitionsAt(last)), 'saved', whereText(wanted)), ...inactive, ...behind]
}

function memberFaults({ replay, shown, definitions }: Evidence): string[] {
  const there = [...replay.definitionsAt(definitions.changes.length).keys()]
  const known = differences('shown', [...shown.sizes.keys()], 'saved', there)
  const wrong = there.flatMap((id) => {
    const expected = replay.living.filter(({ oracle }) => oracle.segments.includes(id)).map(({ publicId }) => publicIdText(publicId))
    const size = shown.sizes.get(id) === expected.length ? [] : [`${id} shows the size ${shown.sizes.get(id)}, foretold ${expected.length}`]
    return [...size, ...differences(`listed in ${id}`, shown.members.get(id) ?? [], 'foretold', expected)]
  })
  return [...known, ...wrong]
}

/** Nobody shares anything with others here: identifiers are together exactly as events connect them. */
function identityFaults({ history, shown }: Evidence): string[] {
  const groups = new Map<string, Set<string>>()
  const text = ({ namespace, value }: { namespace: string; value: string }): string => `${namespace}:${value}`
  for (const { identifiers } of history.counted.values()) {
    const together = new Set(identifiers.map(text))
    const [first = ''] = together
    if (groups.has(first) && [...together].every((one) => groups.get(one) === groups.get(first))) continue
    for (const one of [...together]) for (const other of groups.get(one) ?? []) together.add(other)
    for (const one of together) groups.set(one, together)
  }
  const expected = [...new Set(groups.values())].map(sorted)
  const seen = [...shown.profiles.values()].map(({ identifiers }) => sorted(identifiers.map(text)))
  return differences('shown together', seen, 'linked', expected)
}

/** Where states are told: of everybody the newest is what is shown, of those who were merged away there is none. */
function stateFaults({ outputs, shown, journal }: Evidence): string[] {
  if (journal.outbox.profiles.size === 0) return []
  const faults: string[] = []
  for (const [id, { value }] of outputs.states) {
    const view = shown.profiles.get(id)
    if (value === undefined ? view !== undefined : !view) faults.push(`${id}: the state is ${value}, shown is ${JSON.stringify(view)}`)
    else if (value !== undefined && view && stateText(JSON.parse(value) as ProfileView) !== stateText(view))
      faults.push(`${id}: the state is ${value}, shown is ${JSON.stringify(view)}`)
  }
  for (const id of shown.profiles.keys()) if (outputs.states.get(id)?.value === undefined) faults.push(`${id} has no state`)
  return faults
}

const stateText = ({ id, identifiers, traits, segments }: ProfileView): string =>
  `${id} ${sorted(identifiers.map((one) => JSON.stringify(one)))} ${traitsText(traits)} ${sorted(segments)}`
