// Partitions that are assigned to a host and revoked, at any moment.
import { expect, test } from 'vitest'
import { must } from '../../src/core/assert.ts'
import { Namespaces } from '../../src/core/namespace.ts'
import { type FromHost, Host } from '../../src/engine/host.ts'
import { claimedJournals } from '../../src/engine/journal-claimed.ts'
import { seeded } from '../identity/random.ts'
import { limitsOf } from './harness.ts'
import { newStores, Owners, Process } from './owners.ts'

const PARTITIONS = 1
/** More than an opening takes. */
const MOMENTS = 60
/** In which everything has come to rest. */
const REST_TURNS = 800

async function revokedAndAssigned(afterTurns: number): Promise<{ said: FromHost[]; phase: string; opened: number }> {
  const limits = limitsOf({ partitions: PARTITIONS, namespaces: new Namespaces({}) })
  const world = new Owners({ limits, definitions: [], random: seeded(1) })
  world.calm()
  const said: FromHost[] = []
  let opened = 0
  const process = new Process(world, 'the only one', newStores(PARTITIONS))
  const ports = world.portsOf(process)
  let claims = 0
  const host = new Host(
    {
      ...ports,
      partitions: [],
      journal: claimedJournals((p) => ({ ...world.claimOptions(process, p), owner: `claim ${++claims}` })),
      openRows: (p) => {
        opened++
        return ports.openRows(p)
      },
    },
    (message) => said.push(message),
  )
  await host.open()
  host.receive({ t: 'assign', partition: 0 })
  await world.run(afterTurns)
  host.receive({ t: 'revoke', partition: 0 })
  host.receive({ t: 'assign', partition: 0 })
  await world.run(REST_TURNS)
  const { phase } = must(host.tasks.get(0), 'it is to run')
  await host.close()
  return { said, phase, opened }
}

test('a partition that is revoked and assigned anew runs, at whatever moment that was', async () => {
  let again = 0
  for (let turn = 0; turn < MOMENTS; turn++) {
    const { said, phase, opened } = await revokedAndAssigned(turn)
    expect(said.filter(({ t }) => t === 'stopped' || t === 'failed')).toEqual([])
    expect(phase).toBe('running')
    if (opened > 1) again++
  }
  expect(again).toBeGreaterThan(0)
})
