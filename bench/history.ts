// A server with a past: a data directory filled with events that end now, worked off, and the server started afresh on it.
import type { SegmentDefinition } from '../src/operators/definition.ts'
import { type EngineBench, prepare } from './engine.ts'
import { type ServerProcess, type ServerSetup, startServer } from './server.ts'
import { DEFAULT_EVENTS, type EventOptions, eventLines } from './workload/events.ts'
import type { WorkloadEvent } from './workload/map.ts'

export interface History {
  readonly events: number
  readonly users: number
  readonly segments: number
  readonly partitions: number
  readonly seed: number
  readonly endMs: number
  /** The first events are one per user. */
  readonly cover: boolean
}

export function historyOptions(h: History): EventOptions {
  const { events: n, users, seed, endMs, cover } = h
  return { ...DEFAULT_EVENTS, n, users, seed, endMs, cover }
}

export interface Past {
  readonly lines?: Iterable<string>
  readonly definitions?: readonly SegmentDefinition[]
}

/** Writes the history into the events log, and lets a server work it off. */
export async function makeHistory(setup: ServerSetup, h: History, past: Past = {}): Promise<void> {
  const b: EngineBench = {
    n: h.events,
    users: h.users,
    segments: h.segments,
    partitions: h.partitions,
    cover: h.cover,
    hosts: setup.hosts,
    store: 'rocksdb',
    durability: 'none',
  }
  await prepare(setup.dataDir, b, { lines: eventLines(historyOptions(h)), ...past })
  const server = await startServer({ ...setup, profileDir: undefined })
  await server.settle()
  await server.stop()
}

/** Identifiers of so many known people of the history, spread over it. */
export function knownPeople(h: History, atMost: number): string[] {
  const users = new Set<string>()
  for (const line of eventLines(historyOptions(h))) {
    const { userId } = JSON.parse(line) as WorkloadEvent
    if (userId !== undefined) users.add(`user_id:${userId}`)
  }
  const all = [...users]
  const step = Math.max(1, all.length / atMost)
  return Array.from({ length: Math.min(atMost, all.length) }, (_, i) => all[Math.floor(i * step)] ?? '')
}

export async function profilesOf(server: ServerProcess): Promise<number> {
  return (await server.get<{ profiles: number }>('/v1/status')).profiles
}
