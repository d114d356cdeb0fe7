// The store thread: owns all nxt databases of one host and makes the binding's calls, many of which block. It lives as a worker of
// the host's thread; a host sends it requests and gets one reply to each (rocksdb-nxt.ts).
//
// 1. Writes to a database are carried out in the order of their arrival. Reads don't wait for writes that came before them: between
//    two writes all requests that have arrived are taken in, so that a read waits for one write at most.
// 2. A batch is atomic. The binding can't put range deletes into a batch: ranges of few rows become deletes of these rows. A
//    batch with larger ranges is first stored whole under REDO_KEY, then carried out; the last step removes it. What was
//    interrupted is redone when the database is opened. No read of the database runs meanwhile.
// 3. The binding does not check that a database is open: none is closed with a call under way (the host sees to that) or with an
//    iterator open.
// 4. Every request is answered. A value that the binding fails to read in the background ends up as an uncaught exception, and the
//    call that asked for it is never answered: then all reads under way are repeated in a way that reports errors.
// 5. Of the reads of many rows, a few are under way at a time: threads are left for those of few rows, behind which somebody waits, and
//    for the syncs of the logs, which share the pool with them.
// 6. Reads of few rows are made at once: what RocksDB has in memory is quicker read than handed to the pool and back. While the disk
//    has shown that it is in the way, they go to the pool, so that several wait for it at a time, and writes for none of them.
// 7. A database is held as long as the binding works on it: it is freed with its handle, whatever is under way.
import { parentPort } from 'node:worker_threads'
import binding, { type Database, type Iterator, type OpenOptions } from '@nxtedition/rocksdb/binding.js'
import { must } from '../core/assert.ts'
import { systemClock } from '../core/clock.ts'
import { Mail } from '../core/mail.ts'
import { packRows, packValues, REDO_KEY, unpackKeys, visitBatch } from './packed.ts'
import { openValue, storedValue } from './value.ts'

export type StoreRequest =
  | { readonly op: 'open'; readonly dir: string; readonly options: OpenOptions }
  | { readonly op: 'get'; readonly packed: ArrayBuffer }
  | { readonly op: 'write'; readonly packed: ArrayBuffer }
  | {
      readonly op: 'scan'
      readonly scan: number
      readonly gte: string
      readonly lt: string
      readonly reverse: boolean
      readonly limit: number
    }
  | { readonly op: 'next'; readonly scan: number; readonly limit: number }
  | { readonly op: 'closeScan'; readonly scan: number }
  | { readonly op: 'close' }

type RequestOf<Op extends StoreRequest['op']> = StoreRequest & { readonly op: Op }

export interface StoreCall<R extends StoreRequest = StoreRequest> {
  readonly id: number
  /** The host's number for the database. */
  readonly database: number
  readonly request: R
}

export interface StoreReply {
  readonly id: number
  readonly error?: { readonly message: string; readonly code: string | undefined }
  /** Rows or values, packed. */
  readonly packed?: ArrayBuffer
  /** Of a page of a scan: it was the last, and the scan is closed. */
  readonly isLast?: boolean
}

/** Ranges of at most so many rows are deleted row by row: that leaves no range tombstones, which slow down every later read. */
const FEW_ROWS = 512
/** A page ends once it has more bytes than this. */
const PAGE_BYTES = 1 << 20
/** Reads of so many rows are those of batches (5). */
const MANY_ROWS = 32
/** A read of few rows that took longer has waited for a disk … */
const SLOW_MS = 2
/** … and for so long the next ones go to the pool (6). */
const SLOW_FOR_MS = 100
/** Of the pool's four threads. */
const MOST_LARGE_READS = 2
const NO_OPTIONS = {}

class OpenDatabase {
  readonly db: Database
  readonly scans = new Map<number, Iterator>()
  readonly writes: StoreCall<RequestOf<'write'>>[] = []
  /** Reads under way in the background. */
  reads = 0
  /** The next write waits until no read is under way; reads that arrive wait for it in turn (2). */
  holdsReads = false
  held: StoreCall<RequestOf<'get'>>[] = []

  constructor(db: Database) {
    this.db = db
  }
}

interface Read {
  readonly call: StoreCall<RequestOf<'get'>>
  readonly database: OpenDatabase
  readonly keys: Buffer[]
}

const port = must(parentPort, 'the store thread is a worker')
const databases = new Map<number, OpenDatabase>()
const closing = new Set<Database>()
const reads = new Set<Read>()
/** Reads of many rows: under way, and those that wait for one of them to end (5). */
let largeReads = 0
const line: Read[] = []
/** Databases with writes, in the order of their turns. */
const writing: OpenDatabase[] = []
let isTurnDue = false
const batch = binding.batch_init()
const { monotonicMs } = systemClock
/** Until then reads of few rows go to the pool (6). */
let slowUntilMs = 0

const mail = new Mail<StoreReply>((replies, transfer) => port.postMessage(replies, transfer))

port.on('message', (calls: readonly StoreCall[]) => {
  for (const call of calls) answering(call.id, () => carryOut(call))
})

process.on('uncaughtException', (error) => {
  const repeated = [...reads]
  const failures = repeated.filter((read) => !repeat(read))
  // Not the doing of a read: let the thread die of it.
  if (failures.length === 0) throw error
})

/** Runs one step of a call; what it throws is the answer. */
function answering(id: number, step: () => void): boolean {
  try {
    step()
    return true
  } catch (error) {
    refuse(id, error)
    return false
  }
}

function answer(id: number, packed?: ArrayBuffer): void {
  mail.post(packed === undefined ? { id } : { id, packed }, packed)
}

function refuse(id: number, error: unknown): void {
  const { message, code } = error as Error & { code?: string }
  mail.post({ id, error: { message, code } })
}

function carryOut({ id, database: number, request }: StoreCall): void {
  if (request.op === 'open') {
    open({ id, database: number, request })
    return
  }
  const database = must(databases.get(number), 'a database is open when it is used')
  switch (request.op) {
    case 'get':
      if (database.holdsReads) database.held.push({ id, database: number, request })
      else read({ id, database: number, request }, database)
      return
    case 'write':
      database.writes.push({ id, database: number, request })
      takeTurn(database)
      return
    case 'scan': {
      const range = { gte: Buffer.from(request.gte, 'latin1'), lt: Buffer.from(request.lt, 'latin1') }
      const iterator = iterate(database.db, range, { reverse: request.reverse, values: true })
      database.scans.set(request.scan, iterator)
      page(id, database, request)
      return
    }
    case 'next':
      page(id, database, request)
      return
    case 'closeScan':
      closeScan(database, request.scan)
      answer(id)
      return
    default:
      for (const scan of database.scans.keys()) closeScan(database, scan)
      databases.delete(number)
      close(database.db, (error) => (error ? refuse(id, error) : answer(id)))
  }
}

function open({ id, database: number, request }: StoreCall<RequestOf<'open'>>): void {
  const db = binding.db_init(request.dir)
  binding.db_open(db, request.options, (error) => {
    if (error) {
      refuse(id, error)
      return
    }
    const isRedone = answering(id, () => redo(db))
    if (!isRedone) {
      close(db, () => {})
      return
    }
    databases.set(number, new OpenDatabase(db))
    answer(id)
  })
}

/** Held until it is closed: one that garbage collection finds is closed by its finalizer as well, at the same time (7). */
function close(db: Database, done: (error: Error | null) => void): void {
  closing.add(db)
  binding.db_close(db, (error) => {
    closing.delete(db)
    done(error)
  })
}

/** Completes what was interrupted (2). */
function redo(db: Database): void {
  const [interrupted] = binding.db_get_many_sync(db, [REDO_KEY], NO_OPTIONS)
  if (interrupted) stepByStep(db, Buffer.from(openValue('', interrupted)))
}

// ---- reads

function read(call: StoreCall<RequestOf<'get'>>, database: OpenDatabase): void {
  const one: Read = { call, database, keys: unpackKeys(Buffer.from(call.request.packed)) }
  database.reads++
  if (isLarge(one) && largeReads >= MOST_LARGE_READS) line.push(one)
  else begin(one)
}

const isLarge = ({ keys }: Read): boolean => keys.length >= MANY_ROWS

function begin(one: Read): void {
  const { call, database, keys } = one
  reads.add(one)
  if (isLarge(one)) largeReads++
  else if (readNow(one)) return
  try {
    binding.db_get_many(database.db, keys, NO_OPTIONS, (error, values) => {
      if (!reads.has(one)) return
      if (error) refuse(call.id, error)
      else answer(call.id, packValues(values).buffer)
      ended(one)
    })
  } catch (error) {
    ended(one)
    throw error
  }
}

/** (6); false while the disk is in the way. */
function readNow(one: Read): boolean {
  const begunMs = monotonicMs()
  if (begunMs < slowUntilMs) return false
  repeat(one)
  const endedMs = monotonicMs()
  if (endedMs - begunMs > SLOW_MS) slowUntilMs = endedMs + SLOW_FOR_MS
  return true
}

function ended(one: Read): void {
  reads.delete(one)
  const { database } = one
  if (--database.reads === 0 && database.holdsReads) takeTurn(database)
  if (!isLarge(one)) return
  largeReads--
  const next = line.shift()
  if (next) answering(next.call.id, () => begin(next))
}

/** Reads at once, in a way that reports errors (4). */
function repeat(one: Read): boolean {
  const { call, database, keys } = one
  const isAnswered = answering(call.id, () => answer(call.id, packValues(binding.db_get_many_sync(database.db, keys, NO_OPTIONS)).buffer))
  ended(one)
  return isAnswered
}

// ---- writes

function takeTurn(database: OpenDatabase): void {
  if (!writing.includes(database)) writing.push(database)
  if (isTurnDue) return
  isTurnDue = true
  // After the messages that have arrived, not after some time (1).
  setImmediate(turn)
}

function turn(): void {
  isTurnDue = false
  const database = writing.shift()
  if (!database) return
  const call = must(database.writes[0], 'a database takes its turn to write')
  const packed = Buffer.from(call.request.packed)
  database.holdsReads = packed.readUInt32LE(0) > 0 && database.reads > 0
  if (!database.holdsReads) {
    database.writes.shift()
    if (answering(call.id, () => write(database.db, packed))) answer(call.id)
    for (const held of database.held.splice(0)) answering(held.id, () => read(held, database))
    if (database.writes.length > 0) writing.push(database)
  }
  const next = writing.shift()
  if (next) takeTurn(next)
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

// ---- scans

function iterate(db: Database, range: { gte: Buffer; lt: Buffer }, what: { reverse: boolean; values: boolean }): Iterator {
  return binding.iterator_init(db, {
    ...range,
    ...what,
    highWaterMarkBytes: PAGE_BYTES,
    keyEncoding: 'buffer',
    valueEncoding: 'buffer',
  })
}

/** Answers with the next rows of a scan, and closes it behind the last ones. */
function page(id: number, database: OpenDatabase, { scan: number, limit }: { readonly scan: number; readonly limit: number }): void {
  const iterator = must(database.scans.get(number), 'a scan is open until its last page')
  const { rows, finished } = binding.iterator_nextv_sync(iterator, limit)
  if (finished) closeScan(database, number)
  const packed = packRows(rows).buffer
  mail.post({ id, packed, isLast: finished }, packed)
}

function closeScan(database: OpenDatabase, id: number): void {
  const iterator = database.scans.get(id)
  if (!iterator) return
  database.scans.delete(id)
  binding.iterator_close(iterator)
}
