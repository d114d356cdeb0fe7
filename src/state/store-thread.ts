// The store thread: makes the blocking calls of the nxt binding (writes and scans) for all databases of one host. The host owns
// the databases and reads single rows itself; this thread works on them through their handles. It lives as a worker of the
// host's thread, so that it has always ended when the host's thread closes a database.
//
// 1. Requests are carried out in the order of their arrival, each to its end: nothing here awaits.
// 2. A batch is atomic. The binding can't put range deletes into a batch: ranges of few rows become deletes of these rows. A
//    batch with larger ranges is first stored whole under REDO_KEY, then carried out; the last step removes it. What was
//    interrupted is redone when the database is attached. The host lets no read run meanwhile.
// 3. A database's iterators are closed before it is detached.
import { parentPort } from 'node:worker_threads'
import binding, { type Database, type Iterator } from '@nxtedition/rocksdb/binding.js'
import { must, unreachable } from '../core/assert.ts'
import { packRows, REDO_KEY, visitBatch } from './packed.ts'
import { openValue, storedValue } from './value.ts'

export type StoreRequest =
  | { readonly op: 'attach'; readonly db: number; readonly handle: bigint }
  | { readonly op: 'write'; readonly db: number; readonly packed: ArrayBuffer }
  | {
      readonly op: 'scan'
      readonly db: number
      readonly scan: number
      readonly gte: string
      readonly lt: string
      readonly reverse: boolean
      readonly limit: number
    }
  | { readonly op: 'next'; readonly db: number; readonly scan: number; readonly limit: number }
  | { readonly op: 'closeScan'; readonly db: number; readonly scan: number }
  | { readonly op: 'detach'; readonly db: number }

export interface StoreCall {
  readonly id: number
  readonly request: StoreRequest
}

export interface StoreReply {
  readonly id: number
  readonly error?: { readonly message: string; readonly code: string | undefined }
  readonly rows?: ArrayBuffer
}

/** Ranges of at most so many rows are deleted row by row: that leaves no range tombstones, which slow down every later read. */
const FEW_ROWS = 512
/** A page ends once it has more bytes than this. */
const PAGE_BYTES = 1 << 20
const NO_OPTIONS = {}

interface Attached {
  readonly db: Database
  readonly scans: Map<number, { readonly iterator: Iterator; finished: boolean }>
}

const port = must(parentPort, 'the store thread is a worker')
const databases = new Map<number, Attached>()
const batch = binding.batch_init()

port.on('message', (call: StoreCall) => {
  try {
    const rows = carryOut(call.request)
    const reply: StoreReply = rows === undefined ? { id: call.id } : { id: call.id, rows }
    port.postMessage(reply, rows === undefined ? [] : [rows])
  } catch (error) {
    const { message, code } = error as Error & { code?: string }
    const reply: StoreReply = { id: call.id, error: { message, code } }
    port.postMessage(reply)
  }
})

function carryOut(request: StoreRequest): ArrayBuffer | undefined {
  if (request.op === 'attach') {
    attach(request.db, request.handle)
    return undefined
  }
  const attached = must(databases.get(request.db), 'a database is attached before it is used')
  switch (request.op) {
    case 'write':
      write(attached.db, Buffer.from(request.packed))
      return undefined
    case 'scan': {
      const range = { gte: Buffer.from(request.gte, 'latin1'), lt: Buffer.from(request.lt, 'latin1') }
      const iterator = iterate(attached.db, range, { reverse: request.reverse, values: true })
      attached.scans.set(request.scan, { iterator, finished: false })
      return page(attached, request.scan, request.limit)
    }
    case 'next':
      return page(attached, request.scan, request.limit)
    case 'closeScan':
      closeScan(attached, request.scan)
      return undefined
    case 'detach':
      for (const scan of attached.scans.keys()) closeScan(attached, scan)
      databases.delete(request.db)
      return undefined
    default:
      return unreachable(request)
  }
}

function attach(id: number, handle: bigint): void {
  const db = binding.db_init(handle)
  databases.set(id, { db, scans: new Map() })
  const [interrupted] = binding.db_get_many_sync(db, [REDO_KEY], NO_OPTIONS)
  if (interrupted) stepByStep(db, Buffer.from(openValue('', interrupted)))
}

function write(db: Database, packed: Buffer): void {
  const isWhole = stageBatch(db, packed).length === 0
  if (!isWhole) {
    binding.batch_clear(batch)
    binding.batch_put(batch, REDO_KEY, storedValue(packed), NO_OPTIONS)
  }
  binding.batch_write(db, batch, NO_OPTIONS)
  if (!isWhole) stepByStep(db, packed)
}

/** Carries out a batch that is stored under REDO_KEY (2). */
function stepByStep(db: Database, packed: Buffer): void {
  for (const [gte, lt] of stageBatch(db, packed)) binding.db_clear(db, { gte, lt })
  binding.batch_del(batch, REDO_KEY, NO_OPTIONS)
  binding.batch_write(db, batch, NO_OPTIONS)
}

/** Fills the write batch; returns the ranges that it can't hold. */
function stageBatch(db: Database, packed: Buffer): [from: Buffer, to: Buffer][] {
  const large: [Buffer, Buffer][] = []
  binding.batch_clear(batch)
  visitBatch(packed, {
    deleteRange(from, to) {
      const keys = firstKeys(db, from, to)
      if (keys.length > FEW_ROWS) large.push([from, to])
      else for (const key of keys) binding.batch_del(batch, key, NO_OPTIONS)
    },
    put: (key, stored) => binding.batch_put(batch, key, stored, NO_OPTIONS),
    delete: (key) => binding.batch_del(batch, key, NO_OPTIONS),
  })
  return large
}

/** The first keys of a range: all of them if they are few. */
function firstKeys(db: Database, gte: Buffer, lt: Buffer): Buffer[] {
  const iterator = iterate(db, { gte, lt }, { reverse: false, values: false })
  try {
    return binding.iterator_nextv_sync(iterator, FEW_ROWS + 1).rows.filter((_, i) => i % 2 === 0)
  } finally {
    binding.iterator_close(iterator)
  }
}

function iterate(db: Database, range: { gte: Buffer; lt: Buffer }, what: { reverse: boolean; values: boolean }): Iterator {
  return binding.iterator_init(db, { ...range, ...what, highWaterMarkBytes: PAGE_BYTES, keyEncoding: 'buffer', valueEncoding: 'buffer' })
}

function page(attached: Attached, id: number, limit: number): ArrayBuffer {
  const scan = attached.scans.get(id)
  if (!scan || scan.finished) return new ArrayBuffer(0)
  const { rows, finished } = binding.iterator_nextv_sync(scan.iterator, limit)
  scan.finished = finished
  return packRows(rows).buffer
}

function closeScan(attached: Attached, id: number): void {
  const scan = attached.scans.get(id)
  if (!scan) return
  attached.scans.delete(id)
  binding.iterator_close(scan.iterator)
}
