// Single bits flipped anywhere in the files of a closed RocksDB store: it refuses, or reading fails, or it shows what was there after
// some write, whole; never anything else. An older moment has an older mark, so that the journal makes up for it or a start refuses.
import { cpSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { must } from '../../src/core/assert.ts'
import { TributaryError } from '../../src/core/errors.ts'
import { openStore } from '../../src/state/open-store.ts'
import { below, pick, type Random, seeded } from '../identity/random.ts'

/** TRIBUTARY_FLIPS=2000 for a long run. */
const FLIPS = Number(process.env.TRIBUTARY_FLIPS ?? 12)
const WRITES = 150
const ROWS_PER_WRITE = 10
const KEYS = 700
const ROW_BYTES = 1500

type Rows = readonly (readonly [key: string, value: Buffer])[]

function rowsOf(write: number): Rows {
  const rows = Array.from({ length: ROWS_PER_WRITE }, (_, i) => {
    return [`k${(write * ROWS_PER_WRITE + i) % KEYS}`, Buffer.alloc(ROW_BYTES, write)] as const
  })
  return [...rows, ['n', Buffer.from(String(write))]]
}

/** Where the bit was: for the report. */
function flip(dir: string, random: Random): string {
  // Its logs of what it did, and its lock, are for people and for the kernel.
  const names = readdirSync(dir).filter((name) => !name.startsWith('LO') && statSync(join(dir, name)).size > 0)
  const name = pick(random, names)
  const bytes = readFileSync(join(dir, name))
  const at = below(random, bytes.length)
  bytes[at] = must(bytes[at], 'within the file') ^ (1 << below(random, 8))
  writeFileSync(join(dir, name), bytes)
  return `byte ${at} of ${name}`
}

/** What a store shows: an error's code, or the last write that it has in full. */
async function shown(kind: 'nxt' | 'native', dir: string): Promise<string | number> {
  let opened: Awaited<ReturnType<typeof openStore>> | undefined
  try {
    opened = await openStore(kind, dir)
    const keys = ['n', ...Array.from({ length: KEYS }, (_, i) => `k${i}`)]
    const values = await opened.getMany(keys)
    const last = Number(values[0]?.toString() ?? -1)
    const expected = new Map(Array.from({ length: last + 1 }, (_, write) => rowsOf(write)).flat())
    const isWhole = keys.every((key, i) => values[i]?.toString('latin1') === expected.get(key)?.toString('latin1'))
    return isWhole ? last : 'wrong rows'
  } catch (error) {
    if (error instanceof TributaryError) return error.code
    throw error
  } finally {
    await opened?.close()
  }
}

test.each(['nxt', 'native'] as const)('%s: a flipped bit never shows wrong rows', async (kind) => {
  const root = await mkdtemp(join(tmpdir(), 'tributary-flips-'))
  try {
    const dir = join(root, 'store')
    const store = await openStore(kind, dir, { writeBufferBytes: 1 << 20 })
    for (let write = 0; write < WRITES; write++) await store.write({ puts: rowsOf(write) })
    await store.close()
    const random = seeded(7)
    let refused = 0
    for (let i = 0; i < FLIPS; i++) {
      const copy = join(root, `copy-${i}`)
      cpSync(dir, copy, { recursive: true })
      const where = flip(copy, random)
      const verdict = await shown(kind, copy)
      if (typeof verdict === 'string') expect(verdict, where).toMatch(/^(store_failed|data_corrupt)$/)
      if (typeof verdict === 'string') refused++
      await rm(copy, { recursive: true })
    }
    expect(refused).toBeGreaterThan(0)
  } finally {
    await rm(root, { recursive: true, force: true })
  }
})
