import nxt, { type Database } from '@nxtedition/rocksdb/binding.js'
import Native from 'rocksdb-native'
import { MemoryStore } from '../../src/state/memory-store.ts'
import { openStore } from '../../src/state/open-store.ts'
import { storeConformance } from './conformance.ts'

const memories = new Map<string, MemoryStore>()
const openMemory = (dir: string): MemoryStore => {
  const store = new MemoryStore(memories.get(dir)?.snapshot())
  memories.set(dir, store)
  return store
}

storeConformance({
  name: 'memory',
  open: async (dir) => openMemory(dir),
  damage: async (dir, key) => openMemory(dir).damage(key),
})

storeConformance({
  name: 'nxt',
  open: (dir) => openStore('nxt', dir),
  async damage(dir, key) {
    const db: Database = nxt.db_init(dir)
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
    nxt.batch_put(batch, Buffer.from(key, 'latin1'), Buffer.from('\x01not what was written', 'latin1'), {})
    nxt.batch_write(db, batch, {})
    await new Promise<void>((resolve, reject) => {
      nxt.db_close(db, (e) => (e ? reject(e) : resolve()))
    })
  },
})

storeConformance({
  name: 'native',
  open: (dir) => openStore('native', dir),
  async damage(dir, key) {
    const db = new Native(dir, {})
    await db.ready()
    const batch = db.write({ capacity: 1, autoDestroy: true })
    batch.tryPut(Buffer.from(key, 'latin1'), Buffer.from('\x01not what was written', 'latin1'))
    await batch.flush()
    await db.close()
  },
})
