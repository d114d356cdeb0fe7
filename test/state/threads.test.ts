// Stores in worker threads, terminated in the middle of their writes, and batches interrupted between two steps.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import nxt, { type Database } from '@nxtedition/rocksdb/binding.js'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openStore } from '../../src/state/open-store.ts'
import { packBatch, REDO_KEY } from '../../src/state/packed.ts'
import { storedValue } from '../../src/state/value.ts'
import { readAll, text } from './conformance.ts'

let dir: string
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'tributary-threads-'))
})
afterEach(() => rm(dir, { recursive: true, force: true }))

const number = (i: number): string => String(i).padStart(5, '0')

/** Writes batch after batch until it is ended: a counter, and 20 rows with the same number. */
const WRITER = `
const { parentPort, workerData } = require('node:worker_threads')
import(workerData.module).then(async ({ openStore }) => {
  const stores = []
  for (const dir of workerData.dirs) stores.push(await openStore('nxt', dir))
  parentPort.postMessage('open')
  for (let n = 1; ; n++) {
    const puts = [['counter', Buffer.from(String(n))]]
    for (let i = 0; i < 20; i++) puts.push(['row' + i, Buffer.from(String(n).padEnd(500))])
    const busy = stores.flatMap((s) => [s.write({ puts, deletedRanges: n % 5 ? [] : [['row', 'rox']] }), s.getMany(['row3', 'absent'])])
    await Promise.all(busy)
    if (n === 3) parentPort.postMessage('writing')
  }
})
`

// Not so with the native binding (rocksdb-native.ts, 2).
test('a host thread that is terminated while writing leaves whole batches, and the databases can be opened', async () => {
  const dirs = ['a', 'b'].map((name) => join(dir, name))
  for (let round = 0; round < 4; round++) {
    const module = new URL('../../src/state/open-store.ts', import.meta.url).href
    const worker = new Worker(WRITER, { eval: true, workerData: { module, dirs }, execArgv: [] })
    await new Promise<void>((resolve, reject) => {
      worker.on('message', (message) => message === 'writing' && resolve())
      worker.on('error', reject)
    })
    await new Promise((resolve) => setTimeout(resolve, round * 7))
    await worker.terminate()
    for (const each of dirs) {
      const store = await openStore('nxt', each)
      const rows = await readAll(store)
      await store.close()
      expect(rows).toHaveLength(21)
      expect(new Set(rows.map(([, value]) => value.trim())).size).toBe(1)
    }
  }
})

for (const kind of ['nxt', 'native'] as const) {
  test(`${kind}: a batch that was interrupted between two steps is completed when the database is opened`, async () => {
    const before = await openStore(kind, dir)
    await before.write({ puts: Array.from({ length: 2000 }, (_, i) => [number(i), text('old')] as const) })
    await before.close()
    const batch = {
      puts: [
        [number(5), text('new')],
        ['z', text('new')],
      ] as const,
      deletedRanges: [[number(0), number(1990)]] as const,
    }
    await putRaw(dir, REDO_KEY, storedValue(packBatch(batch)))
    for (let opening = 0; opening < 2; opening++) {
      const store = await openStore(kind, dir)
      const rows = await readAll(store)
      expect(rows.map(([key]) => key)).toEqual([number(5), ...Array.from({ length: 10 }, (_, i) => number(1990 + i)), 'z'])
      expect(rows[0]?.[1]).toBe('new')
      // Done with: what is written now isn't undone at the next opening.
      await store.write({ puts: [[number(5), text('new')]] })
      await store.close()
    }
  })
}

test('two openings of one directory: the second is refused with data_locked, the first goes on', async () => {
  for (const kind of ['nxt', 'native'] as const) {
    const store = await openStore(kind, join(dir, kind))
    await expect(openStore(kind, join(dir, kind))).rejects.toMatchObject({ code: 'data_locked' })
    await store.write({ puts: [['a', text('1')]] })
    expect(await readAll(store)).toEqual([['a', '1']])
    await store.close()
  }
})

test('a database that is being closed is not freed meanwhile, however eager garbage collection is', async () => {
  const file = (name: string): string => new URL(name, import.meta.url).pathname
  const argv = ['--expose-gc', '--import', file('./collecting.ts'), file('./open-and-close.ts'), dir, '2']
  const child = spawn(process.execPath, argv, { stdio: 'inherit' })
  expect(await once(child, 'exit')).toEqual([0, null])
})

async function putRaw(path: string, key: Buffer, value: Buffer): Promise<void> {
  const db: Database = nxt.db_init(path)
  const options = {
    createIfMissing: true,
    compression: false,
    walCompression: false,
    compaction: 'level',
    memtableMemoryBudget: 1 << 25,
  } as const
  await new Promise<void>((resolve, reject) => {
    nxt.db_open(db, { ...options, optimize: 'point-lookup', parallelism: 1, cacheSize: 1 << 20, infoLogLevel: 'warn' }, (e) =>
      e ? reject(e) : resolve(),
    )
  })
  const batch = nxt.batch_init()
  nxt.batch_put(batch, key, value, {})
  nxt.batch_write(db, batch, {})
  await new Promise<void>((resolve, reject) => {
    nxt.db_close(db, (e) => (e ? reject(e) : resolve()))
  })
}
