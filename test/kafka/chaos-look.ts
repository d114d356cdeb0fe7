// What a deployment shows in the end, through its public interface: every profile, every segment and its members.
import type { EngineStatus, ProfileView } from '../../src/engine/engine.ts'
import { publicIdText } from '../../src/engine/public-id.ts'
import type { Shown } from './chaos-laws.ts'
import type { Deployment } from './deployment.ts'

const READERS = 8

export async function look(deployment: Deployment, publicIds: readonly string[]): Promise<Shown> {
  const profiles = new Map<string, ProfileView>()
  const queue = [...publicIds]
  const reader = async (): Promise<void> => {
    for (let id = queue.pop(); id !== undefined; id = queue.pop()) {
      const view = await deployment.ask<ProfileView>(`/v1/profiles/profile_id:${publicIdText(id)}`)
      profiles.set(view.id, view)
    }
  }
  await Promise.all(Array.from({ length: READERS }, reader))
  const { items } = await deployment.ask<{ items: { id: string; size: number }[] }>('/v1/segments')
  const members = new Map<string, string[]>()
  for (const { id } of items) members.set(id, await membersOf(deployment, id))
  const status = await deployment.ask<EngineStatus>('/v1/status')
  const unwell = status.partitions.filter((p) => p.state !== 'running' || p.lag > 0).map((p) => `partition ${JSON.stringify(p)}`)
  const sizes = new Map(items.map(({ id, size }) => [id, size]))
  return { profiles, sizes, members, count: status.profiles, trouble: unwell }
}

async function membersOf(deployment: Deployment, id: string): Promise<string[]> {
  const all: string[] = []
  for (let after = ''; ; ) {
    const page = await deployment.ask<{ items: { profile: string }[]; next?: string }>(`/v1/segments/${id}/members?limit=1000${after}`)
    all.push(...page.items.map((item) => item.profile))
    if (page.next === undefined) return all
    after = `&after=${encodeURIComponent(page.next)}`
  }
}
