// An Engine in memory: just enough to test the API in front of it. It resolves no identities beyond "same identifier, same profile".
import { TributaryError } from '../../src/core/errors.ts'
import { type EventRecord, messageOf } from '../../src/core/event.ts'
import type { Transition } from '../../src/core/transition.ts'
import type {
  DeadLetter,
  Engine,
  EngineStatus,
  MergeRecord,
  Page,
  PageQuery,
  ProfileRef,
  ProfileView,
  ReadOptions,
  RejectedMessage,
  SegmentView,
  TimelineEvent,
} from '../../src/engine/engine.ts'
import type { Answer, Question } from '../../src/engine/questions.ts'
import type { Where } from '../../src/operators/definition.ts'

export class FakeEngine implements Engine {
  nowMs = Date.parse('2026-11-23T15:00:00.000Z')
  clock: 'wall' | 'manual' = 'manual'
  ready = true
  squeezed: ReturnType<Engine['pressure']>
  /** When set, `ingest` fails with it. */
  failure: Error | undefined
  readonly events: EventRecord[] = []
  readonly rejected: RejectedMessage[] = []
  readonly segmentsById = new Map<string, SegmentView>()
  readonly log: Transition[] = []
  readonly mergeLog: MergeRecord[] = []
  readonly followers = new Set<(transitions: Transition[]) => void>()
  settled = 0
  lastRead: ReadOptions | undefined

  acceptanceTime(): number {
    return this.nowMs
  }
  pressure() {
    return this.squeezed
  }
  async ingest(events: readonly EventRecord[], rejected: readonly RejectedMessage[]) {
    if (this.failure) throw this.failure
    const known = new Set(this.events.map((e) => e.messageHash))
    for (const event of events) if (!known.has(event.messageHash)) this.events.push(event)
    this.rejected.push(...rejected)
    return { position: `p${this.events.length}` }
  }

  #eventsOf(ref: ProfileRef): EventRecord[] {
    return this.events.filter((e) => e.identifiers.some((i) => i.namespace === ref.namespace && i.value === ref.value))
  }
  async profile(ref: ProfileRef, options?: ReadOptions): Promise<ProfileView | undefined> {
    this.lastRead = options
    if (options?.minPosition === 'never') throw new TributaryError('position_timeout', 'Not applied in time.')
    const events = this.#eventsOf(ref)
    if (events.length === 0) return undefined
    const at = new Date(this.nowMs).toISOString()
    const identifiers = [
      ...new Map(
        events.flatMap((e) => e.identifiers.map(({ namespace, value }) => [`${namespace}:${value}`, { namespace, value }])),
      ).values(),
    ]
    const traits = Object.assign({}, ...events.filter((e) => e.hasTraits).map((e) => messageOf(e).traits))
    return {
      id: 'prf_1',
      identifiers,
      traits,
      computedTraits: {},
      segments: [],
      createdAt: at,
      updatedAt: at,
      position: `p${this.events.length}`,
    }
  }
  async profileEvents(ref: ProfileRef, page: PageQuery): Promise<Page<TimelineEvent> | undefined> {
    const events = this.#eventsOf(ref)
    if (events.length === 0) return undefined
    const shown = events.map((e): TimelineEvent => {
      const at = new Date(e.at).toISOString()
      return { messageId: e.messageId, type: e.type, event: e.name, timestamp: at, acceptedAt: at, appliedAt: at, message: messageOf(e) }
    })
    return paged(shown, page)
  }
  async profileMemberships(ref: ProfileRef, page: PageQuery) {
    return this.#eventsOf(ref).length === 0 ? undefined : paged([{ segment: 'vip', member: true, seq: 1 }], page)
  }
  async profileAudit(ref: ProfileRef, page: PageQuery) {
    return this.#eventsOf(ref).length === 0
      ? undefined
      : paged([{ seq: 1, at: new Date(this.nowMs).toISOString(), action: 'created' }], page)
  }

  async segments() {
    return [...this.segmentsById.values()]
  }
  async segment(id: string) {
    return this.segmentsById.get(id)
  }
  async putSegment(id: string, { name, where }: { name?: string; where: Where }) {
    const version = (this.segmentsById.get(id)?.version ?? 0) + 1
    const segment: SegmentView = { id, ...(name === undefined ? {} : { name }), where, version, status: 'live', progress: 1, size: 0 }
    this.segmentsById.set(id, segment)
    return segment
  }
  async deleteSegment(id: string) {
    return this.segmentsById.delete(id)
  }
  async previewSegment() {
    return { size: 1, total: 2 }
  }
  async segmentMembers(id: string, page: PageQuery) {
    return this.segmentsById.has(id)
      ? paged([{ profile: 'prf_1', userId: 'u1' }, { profile: 'prf_2' }, { profile: 'prf_3' }], page)
      : undefined
  }

  emit(count: number, segment = 'vip'): void {
    const fresh = Array.from({ length: count }, (_, i): Transition => {
      const n = this.log.length + i
      return {
        id: `0-${n}`,
        segment,
        version: 1,
        profile: 'prf_1',
        transition: n % 2 === 0 ? 'entered' : 'exited',
        cause: 'event',
        seq: n + 1,
        at: this.nowMs + n,
        decidedAt: this.nowMs + n,
      }
    })
    this.log.push(...fresh)
    for (const deliver of this.followers) deliver(fresh)
  }
  async transitions({ segment, ...page }: PageQuery & { segment?: string }): Promise<Page<Transition>> {
    const from = this.#after(page.after)
    const items = this.log.slice(from).filter((t) => segment === undefined || t.segment === segment)
    return paged(items, { limit: page.limit })
  }
  #after(cursor: string | undefined): number {
    if (cursor === undefined) return 0
    const end = /^c(\d+)$/.exec(cursor)
    if (end) return Number(end[1])
    const n = Number(/^0-(\d+)$/.exec(cursor)?.[1] ?? Number.NaN)
    if (Number.isNaN(n)) throw new TributaryError('invalid_request', `No cursor: ${cursor}.`)
    return n + 1
  }
  async transitionsEnd() {
    return `c${this.log.length}`
  }
  async followTransitions({ after, segment }: { after?: string; segment?: string }, deliver: (transitions: Transition[]) => unknown) {
    const mine = (all: Transition[]) => all.filter((t) => segment === undefined || t.segment === segment)
    let turn: Promise<unknown> = Promise.resolve()
    const follower = (fresh: Transition[]) => {
      turn = turn.then(() => deliver(mine(fresh)))
    }
    this.followers.add(follower)
    if (after !== undefined) follower(this.log.slice(this.#after(after)))
    return () => {
      this.followers.delete(follower)
    }
  }
  async merges(page: PageQuery) {
    return paged(this.mergeLog, page)
  }
  async deadLetters(page: PageQuery): Promise<Page<DeadLetter>> {
    return paged(
      this.rejected.map((r, i) => ({
        id: String(i),
        code: r.code,
        reason: r.reason,
        at: new Date(this.nowMs).toISOString(),
        message: r.message,
      })),
      page,
    )
  }

  async status(): Promise<EngineStatus> {
    return {
      ready: this.ready,
      clock: this.clock,
      now: new Date(this.nowMs).toISOString(),
      partitions: [],
      profiles: 0,
      definitionsVersion: 0,
      deleting: [],
    }
  }
  async isReady() {
    return this.ready
  }
  /** What other processes of a cluster have asked. */
  readonly questions: Question[] = []
  async answer(question: Question): Promise<Answer> {
    if (this.failure) throw this.failure
    this.questions.push(question)
    return { kind: 'status', partitions: [] }
  }
  confirmed = 0

  async confirmClock() {
    this.confirmed++
  }

  async settle() {
    this.settled++
  }
  async setClock(nowMs: number) {
    if (this.clock !== 'manual') throw new TributaryError('clock_not_manual', 'The clock is the wall clock.')
    if (nowMs < this.nowMs) throw new TributaryError('clock_backwards', 'The clock is ahead already.')
    this.nowMs = nowMs
  }
  async metrics() {
    return '# HELP tributary_fake A figure\n# TYPE tributary_fake gauge\ntributary_fake 1\n'
  }
  async close() {}
}

/** Pages whose cursor is a transition's id where items have one like it, else an index. */
function paged<T>(all: readonly T[], { limit, after }: PageQuery): Page<T> {
  const start = after === undefined ? 0 : Number(after)
  const items = all.slice(start, start + limit)
  if (start + limit >= all.length) return { items }
  const last = items.at(-1) as { id?: unknown } | undefined
  return { items, next: typeof last?.id === 'string' && last.id.startsWith('0-') ? last.id : String(start + limit) }
}
