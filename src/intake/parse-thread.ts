// The thread behind off-thread.ts.
import { parentPort, workerData } from 'node:worker_threads'
import { must } from '../core/assert.ts'
import { Writer } from '../core/bytes.ts'
import { TributaryError } from '../core/errors.ts'
import { encodeEvent } from '../core/event.ts'
import { Namespaces } from '../core/namespace.ts'
import { readAndMap, UnreadableBody } from './intake.ts'
import type { ThreadReply, ThreadRequest } from './off-thread.ts'

const port = must(parentPort, 'this module runs as a worker thread')
const namespaces = new Namespaces(workerData.identity)
const record = new Writer(64 * 1024)

port.on('message', (request: ThreadRequest) => {
  const reply = answer(request)
  port.postMessage(reply, 'records' in reply ? [reply.records.buffer as ArrayBuffer] : [])
})

function answer(request: ThreadRequest): ThreadReply {
  const { id, bytes } = request
  try {
    const { events, rejected, single, writeKey } = readAndMap(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length), request, {
      ...request,
      namespaces,
    })
    const all = new Writer(bytes.length * 2)
    for (const event of events) {
      encodeEvent(event, record.reset())
      all.bytes(record.view())
    }
    return { id, records: all.take(), rejected, single, writeKey }
  } catch (error) {
    if (!(error instanceof TributaryError)) throw error
    return {
      id,
      code: error.code,
      message: error.message,
      detail: error.detail,
      kept: error instanceof UnreadableBody ? error.kept : undefined,
    }
  }
}
