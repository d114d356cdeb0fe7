// Looking profiles up from the main thread: identifier or public id → key → forwards → root. Owns the walk and the paging;
// the rows are asked of the hosts.
import type { Clock } from '../core/clock.ts'
import { TributaryError } from '../core/errors.ts'
import { messageOf } from '../core/event.ts'
import { homeOf, PROFILE_KEY_BYTES, type ProfileKey } from '../core/identifier.ts'
import { isoText } from '../core/iso-text.ts'
import type { Namespaces } from '../core/namespace.ts'
import type { Asker } from './asker.ts'
import type { TaskLimits } from './config.ts'
import type { AuditEntry, MembershipView, Page, PageQuery, ProfileRef, ProfileView, TimelineEvent } from './engine.ts'
import { decodeTimelineRow } from './profile.ts'
import { parsePublicId, publicIdHome } from './public-id.ts'
import type { Answer, Lookup, ProfileFacts } from './questions.ts'
import type { Registry } from './registry.ts'

interface ProfilesPorts {
  readonly limits: TaskLimits
  readonly namespaces: Namespaces
  readonly clock: Clock
}

/** Forwards strictly descend, so a walk ends; a merge under way may make it look again. */
const STEPS = 64

const cursorOf = (binary: string): string => Buffer.from(binary, 'latin1').toString('base64url')

function binaryOf(cursor: string | undefined, bytes: number): string {
  if (cursor === undefined) return ''
  const binary = Buffer.from(cursor, 'base64url').toString('latin1')
  if (binary.length !== bytes) throw new TributaryError('invalid_request', `after: "${cursor}" is not a cursor of this list`)
  return binary
}

export class Profiles {
  readonly #asker: Asker
  readonly #registry: Registry
  readonly #ports: ProfilesPorts

  constructor(asker: Asker, registry: Registry, ports: ProfilesPorts) {
    this.#asker = asker
    this.#registry = registry
    this.#ports = ports
  }

  #home(key: string): number {
    return homeOf(key, this.#ports.limits.partitions)
  }

  /** Where a look-up begins; undefined when nobody can have such a name. */
  #start(ref: ProfileRef): { partition: number; by: Lookup } | undefined {
    if (ref.namespace === 'profile_id') {
      const publicId = parsePublicId(ref.value)
      return publicId === undefined ? undefined : { partition: publicIdHome(publicId, this.#ports.limits.partitions), by: { publicId } }
    }
    const identifier = this.#ports.namespaces.identifierOf(ref.namespace, ref.value)
    return 'blocked' in identifier ? undefined : { partition: this.#home(identifier.key), by: { identifier: identifier.key } }
  }

  async #root(ref: ProfileRef): Promise<{ key: ProfileKey; facts: ProfileFacts } | undefined> {
    let from = this.#start(ref)
    for (let step = 0; from !== undefined && step < STEPS; step++) {
      const { root, elsewhere } = await this.#asker.ask(from.partition, { kind: 'find', ...from }, 'found')
      if (elsewhere === undefined) return root
      from = { partition: this.#home(elsewhere), by: { key: elsewhere } }
    }
    return undefined
  }

  async view(ref: ProfileRef): Promise<ProfileView | undefined> {
    const root = await this.#root(ref)
    return root && this.shown(root.facts)
  }

  async shown(facts: ProfileFacts): Promise<ProfileView> {
    await this.#registry.knows(facts.segments)
    return {
      id: facts.id,
      identifiers: facts.identifiers,
      traits: facts.traits,
      computedTraits: {},
      segments: facts.segments.map((n) => this.#registry.idOf(n)).sort(),
      createdAt: isoText(facts.createdAt),
      updatedAt: isoText(facts.updatedAt),
      position: facts.position,
    }
  }

  async #rows(
    ref: ProfileRef,
    what: 'timeline' | 'audit',
    page: PageQuery & { cursorBytes: number },
  ): Promise<(Answer & { kind: 'rows' }) | undefined> {
    const root = await this.#root(ref)
    if (!root) return undefined
    const partition = this.#home(root.key)
    const after = binaryOf(page.after, page.cursorBytes)
    return this.#asker.ask(partition, { kind: 'rows', partition, key: root.key, what, after, limit: page.limit }, 'rows')
  }

  async events(ref: ProfileRef, page: PageQuery): Promise<Page<TimelineEvent> | undefined> {
    const answer = await this.#rows(ref, 'timeline', { ...page, cursorBytes: 22 })
    return answer && paged(answer, ([, value]) => timelineEvent(value))
  }

  async audit(ref: ProfileRef, page: PageQuery): Promise<Page<AuditEntry> | undefined> {
    const answer = await this.#rows(ref, 'audit', { ...page, cursorBytes: 5 })
    return answer && paged(answer, ([suffix, value]) => auditEntry(suffix, value))
  }

  async memberships(ref: ProfileRef, page: PageQuery): Promise<Page<MembershipView> | undefined> {
    const root = await this.#root(ref)
    if (!root) return undefined
    const partition = this.#home(root.key)
    const { memberships } = await this.#asker.ask(partition, { kind: 'memberships', partition, key: root.key }, 'memberships')
    await this.#registry.knows(memberships.map(([segment]) => segment))
    const from = page.after === undefined ? -1 : Number(page.after)
    if (!Number.isInteger(from)) throw new TributaryError('invalid_request', `after: "${page.after}" is not a cursor of this list`)
    const rest = memberships.filter(([segment]) => segment > from)
    const items = rest.slice(0, page.limit).map(([segment, seq, member]) => ({ segment: this.#registry.idOf(segment), member, seq }))
    const last = rest[page.limit - 1]
    return rest.length > page.limit && last ? { items, next: String(last[0]) } : { items }
  }

  /** Members partition by partition, in the order of their keys. */
  async members(segment: number, page: PageQuery): Promise<Page<{ profile: string; userId?: string }>> {
    let [partition, after] = memberCursor(page.after)
    const items: { profile: string; userId?: string }[] = []
    for (; partition < this.#ports.limits.partitions; partition++, after = '') {
      const limit = page.limit - items.length
      const answer = await this.#asker.ask(partition, { kind: 'members', partition, segment, after, limit }, 'members')
      for (const m of answer.members) items.push(m.userId === '' ? { profile: m.id } : { profile: m.id, userId: m.userId })
      const last = answer.members[answer.members.length - 1]
      if (answer.more) return { items, next: `${partition}.${cursorOf(last?.key ?? after)}` }
      if (items.length === page.limit)
        return partition + 1 < this.#ports.limits.partitions ? { items, next: `${partition + 1}.` } : { items }
    }
    return { items }
  }
}

function memberCursor(cursor: string | undefined): [number, ProfileKey] {
  if (cursor === undefined) return [0, '']
  const m = /^(\d{1,5})\.(.*)$/.exec(cursor)
  if (!m) throw new TributaryError('invalid_request', `after: "${cursor}" is not a cursor of this list`)
  return [Number(m[1]), m[2] === '' ? '' : binaryOf(m[2], PROFILE_KEY_BYTES)]
}

function paged<T>(answer: Answer & { kind: 'rows' }, decode: (row: readonly [string, Uint8Array]) => T): Page<T> {
  const items = answer.rows.map(decode)
  const last = answer.rows[answer.rows.length - 1]
  return answer.more && last ? { items, next: cursorOf(last[0]) } : { items }
}

function timelineEvent(value: Uint8Array): TimelineEvent {
  const { appliedAt, record } = decodeTimelineRow(Buffer.from(value))
  return {
    messageId: record.messageId,
    type: record.type,
    event: record.name,
    timestamp: isoText(record.at),
    acceptedAt: isoText(record.acceptedAt),
    appliedAt: isoText(appliedAt),
    message: messageOf(record),
  }
}

function auditEntry(suffix: string, value: Uint8Array): AuditEntry {
  let seq = 0
  for (let i = 0; i < suffix.length; i++) seq = seq * 256 + suffix.charCodeAt(i)
  const entry = JSON.parse(Buffer.from(value).toString('utf8')) as Omit<AuditEntry, 'seq' | 'at'> & { at: number }
  return { seq, ...entry, at: isoText(entry.at) }
}
