// Every fault again and again, in any order, on real small disks: `npm run test:faults`, for longer
// TRIBUTARY_FAULT_ROUNDS=500 npm run test:faults. The disks take root; TRIBUTARY_FAULTS names the faults to choose from, by commas.
import { expect, test } from 'vitest'
import { pick, seeded } from '../identity/random.ts'
import { FAULT_NAMES, type FaultName } from './faults.ts'
import { faultRounds } from './rounds.ts'
import type { DiskKind } from './small-disk.ts'

const rounds = Number(process.env.TRIBUTARY_FAULT_ROUNDS ?? 30)
const seed = Number(process.env.TRIBUTARY_SEED ?? Math.floor(Math.random() * 1e6))
const asked = process.env.TRIBUTARY_FAULTS?.split(',')
const names = FAULT_NAMES.filter((name: FaultName) => asked?.includes(name) ?? true)
const MEGABYTES = 1024

test.each<[clock: 'manual' | 'wall', kind: DiskKind]>([
  ['manual', 'ext4'],
  ['wall', 'tmpfs'],
])('on the %s clock and a disk of %s', async (clock, kind) => {
  const random = seeded(seed)
  const faults = Array.from({ length: rounds }, () => pick(random, names))
  const say = (what: string): void => console.log(what)
  const disk = { kind, megabytes: MEGABYTES }
  const { faults: found, figures } = await faultRounds({ seed, faults, disk, clock, people: 200, lifeMs: 1000, say })
  console.log(`seed ${seed}, ${clock} clock: ${JSON.stringify(figures)}`)
  expect(found.slice(0, 50)).toEqual([])
})
