// The end of a run: faults cease, clients are answered, time goes on until nothing is due, and everything that can be seen is held
// against the oracle. Owns nothing.

import { must } from '../../src/core/assert.ts'
import type { Namespaces } from '../../src/core/namespace.ts'
import type { DefinitionChange } from '../../src/engine/definitions.ts'
import type { EmbeddedEngine } from '../../src/engine/embedded.ts'
import type { ProfileView } from '../../src/engine/engine.ts'
import { publicIdText } from '../../src/engine/public-id.ts'
import { exceeds } from './guards.ts'
import type { InvariantNumber } from './model.ts'
import { type Foretold, Replay, type Replayed } from './replay.ts'
import type { World } from './world.ts'

/** Longer than any window, and than any date of a trait is ahead: then nothing is due any more. */
const REST_MS = 5000
/** In which a due flip must be seen. */
const PROMISE_MS = 1000
export const IDENTIFIERS = ['u', 'e', 'a'].flatMap((letter) => [0, 1, 2, 3].map((n) => `${letter}${n}`))

export async function finish(world: World): Promise<void> {
  await world.answered()
  world.pass(REST_MS)
  await world.answered()
  if (world.plan.layout.clock === 'wall') await world.runFor(PROMISE_MS)
  await filled(world)
  world.settle()
  await world.answered()
  checkRest(world)
  const replay = replayOf(world)
  checkCounted(world)
  checkTransitions(world, { changes: changesOf(world), replay })
  checkMerges(world, replay)
  checkLetters(world)
  await checkViews(world, replay)
}

/** Resolves when every definition is live. */
async function filled(world: World): Promise<void> {
  for (let isLive = false, n = 0; !isLive; n++) {
    if (n > 500) world.fail(10, 'definitions do not become live')
    world.ask('segments', async (engine) => {
      const areLive = (await engine.segments()).every((segment) => segment.status === 'live')
      // Nothing says when a deletion is through, except to whoever looks into the tasks.
      isLive = areLive && world.process.tasks.every((task) => task.sweepProgress().progress === 1)
    })
    await world.answered()
    await world.steps(5)
  }
}

function checkRest({ process, fail }: World): void {
  for (const task of process.tasks) {
    if (!task.isIdle) fail(10, `partition ${task.partition} is not idle at rest`)
    if (task.busy.size > 0) fail(10, `partition ${task.partition} has roots with work under way at rest`)
  }
}

function changesOf({ process }: World): DefinitionChange[] {
  return process.disk.definitions.all.map(({ payload }) => JSON.parse(payload.toString('utf8')) as DefinitionChange)
}

function replayOf(world: World): Replay {
  const changes = changesOf(world)
  const replay = new Replay(world.model.history, changes)
  replay.advance(world.plan.layout.clock === 'manual' ? world.manualNow : world.clock.now())
  for (const { version, publicId } of replay.living)
    if (version < changes.length) world.fail(16, `${publicIdText(publicId)} is filled to version ${version} of ${changes.length}`)
  const [oddity] = replay.oddities
  if (oddity !== undefined) world.fail(8, oddity)
  return replay
}

/** (1), for all that was accepted. */
export function checkCounted({ model, fail }: Pick<World, 'model' | 'fail'>): void {
  for (const [hash, [record]] of model.accepted) {
    const isPoison = record?.messageId.startsWith('poison')
    if (!isPoison && !model.counted.has(hash)) fail(1, `${record?.messageId} is accepted and never counted`)
  }
  for (const [hash, { record }] of model.counted)
    if (!model.accepted.has(hash)) fail(1, `${record.messageId} is counted and was never accepted`)
}

type Line = Pick<Foretold, 'profile' | 'segment' | 'seq' | 'transition' | 'at'> & { readonly cause: string; readonly causeId?: string }

const lineOf = (t: Line): string =>
  `${t.profile} ${t.segment} ${String(t.seq).padStart(3, '0')} ${t.transition} at ${t.at} by ${t.cause} ${t.causeId ?? ''}`

/** (9) */
export function checkTransitions(
  { model, fail }: Pick<World, 'model' | 'fail'>,
  { changes, replay }: { readonly changes: readonly DefinitionChange[]; readonly replay: Replay },
): void {
  const numbers = [...new Set(changes.map((change) => ('put' in change ? change.put.id : change.delete)))]
  const seen = model
    .transitions()
    .map((t) =>
      lineOf({ ...t, profile: publicIdText(t.publicId), segment: numbers[t.segment] ?? '?', transition: t.entered ? 'entered' : 'exited' }),
    )
  compare(fail, 9, seen, replay.transitions.map(lineOf))
}

function compare(fail: World['fail'], invariant: InvariantNumber, seen: readonly string[], foretold: readonly string[]): void {
  const left = new Map<string, number>()
  for (const line of foretold) left.set(line, (left.get(line) ?? 0) + 1)
  const surplus = seen.filter((line) => {
    const n = left.get(line) ?? 0
    left.set(line, n - 1)
    return n <= 0
  })
  const missing = [...left].filter(([, n]) => n > 0).map(([line]) => line)
  if (surplus.length + missing.length === 0) return
  const list = (name: string, lines: string[]): string =>
    `${name}:\n${lines
      .sort()
      .slice(0, 6)
      .map((line) => `  ${line}\n`)
      .join('')}`
  fail(invariant, `${list('seen, not foretold', surplus)}${list('foretold, not seen', missing)}`)
}

function checkMerges({ model, fail }: World, replay: Replay): void {
  const lines = (list: readonly unknown[]): string[] =>
    (list as { survivor: string; absorbed: string; messageId?: string }[]).map((m) => `${m.absorbed} into ${m.survivor} by ${m.messageId}`)
  compare(fail, 16, lines(model.entries('merges')), lines(replay.merges))
}

/** (17) */
function checkLetters({ model, fail }: World): void {
  const letters = model.entries('deadLetters') as { code: string; message?: { messageId?: string } }[]
  const poisoned = [...model.accepted.values()].flat().filter((record) => record.messageId.startsWith('poison'))
  compare(
    fail,
    17,
    letters.map((letter) => `${letter.code} ${letter.message?.messageId}`),
    poisoned.map((record) => `execution_failed ${record.messageId}`),
  )
}

// ---- what can be read (4, 16)

const idText = ({ namespace, value }: { namespace: string; value: string }): string => `${namespace}:${value}`
const sorted = (texts: Iterable<string>): string => [...texts].sort().join(' ')

async function checkViews(world: World, replay: Replay): Promise<void> {
  const views = new Map<string, ProfileView>()
  const living = new Map(replay.living.map((profile) => [publicIdText(profile.publicId), profile]))
  for (const id of IDENTIFIERS) {
    const namespace = must({ u: 'user_id', e: 'email', a: 'anonymous_id' }[id.charAt(0)], 'a letter that is used')
    world.ask(`view ${id}`, async (engine) => {
      const view = await engine.profile({ namespace, value: id })
      if (!view) return
      if (!view.identifiers.some((one) => one.value === id)) world.fail(4, `${id} resolves to a profile that does not have it`)
      views.set(id, view)
    })
  }
  await world.answered()
  checkIdentity(world, views, living)
  const seen = new Map([...views.values()].map((view) => [view.id, view]))
  for (const [id, profile] of living) {
    const view = seen.get(id)
    if (!view) world.fail(4, `the profile ${id} can't be reached by any identifier`)
    else world.ask(`rows of ${id}`, (engine) => checkProfile(world, engine, { view, profile }))
  }
  checkSizes(world, replay)
  await world.answered()
}

async function checkProfile(
  world: World,
  engine: EmbeddedEngine,
  { view, profile }: { view: ProfileView; profile: Replayed },
): Promise<void> {
  const { oracle } = profile
  const fail = (what: string): void => world.model.fail(16, `${what} of ${view.id}`)
  const ref = { namespace: 'profile_id', value: view.id }
  if (sorted(view.segments) !== sorted(oracle.segments)) fail(`segments ${view.segments}, foretold ${oracle.segments},`)
  const [traits, foretold] = [view.traits, Object.fromEntries(oracle.traits)].map((list) =>
    sorted(Object.entries(list).map((t) => JSON.stringify(t))),
  )
  if (traits !== foretold) fail(`traits ${traits}, foretold ${foretold},`)
  const timeline = await engine.profileEvents(ref, { limit: 10_000 })
  const events = sorted(timeline?.items.map((e) => `${e.messageId}@${Date.parse(e.timestamp)}`) ?? [])
  if (events !== sorted(oracle.all.map((e) => `${e.messageId}@${e.at}`))) fail(`the timeline ${events}`)
  const memberships = await engine.profileMemberships(ref, { limit: 1000 })
  const lines = sorted(memberships?.items.map((m) => `${m.segment}:${m.member}:${m.seq}`) ?? [])
  const expected = sorted([...oracle.memberships].map(([segment, m]) => `${segment}:${m.in}:${m.seq}`))
  if (lines !== expected) fail(`memberships ${lines}, foretold ${expected},`)
}

function checkSizes(world: World, replay: Replay): void {
  world.ask('sizes', async (engine) => {
    for (const { id, size } of await engine.segments()) {
      const members = replay.living.filter((profile) => profile.oracle.segments.includes(id)).length
      if (size !== members) world.model.fail(16, `segment ${id} has size ${size}, and ${members} members by the oracle`)
    }
    const { profiles } = await engine.status()
    if (profiles !== replay.living.length) world.model.fail(16, `${profiles} profiles are counted, the oracle has ${replay.living.length}`)
  })
}

/** (4): under the plain union policy, the components of what was accepted; with guards, a partition of the identifiers. */
function checkIdentity(world: World, views: ReadonlyMap<string, ProfileView>, living: ReadonlyMap<string, Replayed>): void {
  const { fail } = world
  for (const [id, view] of views) if (!living.has(view.id)) fail(4, `${id} resolves to ${view.id}, which is not a living profile`)
  if (world.plan.layout.guarded) checkPartition(views, fail, world.namespaces)
  else checkGroups(world, views)
}

/** Each identifier that was accepted resolves to a profile with all that its links connect it to, and no others. */
export function checkGroups(
  { model, fail }: Pick<World, 'model' | 'fail'>,
  views: ReadonlyMap<string, Pick<ProfileView, 'identifiers'>>,
): void {
  const groups = new Map<string, Set<string>>()
  for (const [hash] of model.counted) {
    for (const { identifiers } of model.accepted.get(hash) ?? []) {
      const texts = new Set(identifiers.map((one) => one.value))
      for (const value of [...texts]) for (const other of groups.get(value) ?? []) texts.add(other)
      for (const value of texts) groups.set(value, texts)
    }
  }
  for (const [value, texts] of groups) {
    const view = views.get(value)
    const has = sorted(view?.identifiers.map((one) => one.value) ?? [])
    if (has !== sorted(texts)) fail(4, `${value} resolves to a profile of ${has}; its links connect ${sorted(texts)}`)
  }
}

function checkPartition(views: ReadonlyMap<string, ProfileView>, fail: World['fail'], namespaces: Namespaces): void {
  const owners = new Map<string, string>()
  for (const view of new Set(views.values())) {
    for (const one of view.identifiers) {
      const owner = owners.get(idText(one)) ?? view.id
      if (owner !== view.id) fail(4, `${idText(one)} is held by two profiles`)
      owners.set(idText(one), view.id)
    }
    if (exceeds(view.identifiers, namespaces)) fail(5, `${view.id} holds ${view.identifiers.map(idText)}`)
  }
}
