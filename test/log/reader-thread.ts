// The reading half of the two-thread test: follows what it is told, and answers with what it has read.
import { parentPort, workerData } from 'node:worker_threads'
import { openFileLogReader } from '../../src/log/file-log-reader.ts'

const { directory, partitions } = workerData as { directory: string; partitions: number }
const reader = await openFileLogReader(directory, { partitions })
const positions = new Array<number>(partitions).fill(0)
let bytes = 0
let inOrder = true

parentPort?.on('message', async (message: { synced: number; isLast: boolean }) => {
  reader.advance(message.synced)
  if (!message.isLast) return
  for (let p = 0; p < partitions; p++) {
    for (;;) {
      const records = await reader.read(p, positions[p] ?? 0, { maxRecords: 100, maxBytes: 1e6 })
      if (records.length === 0) break
      for (const record of records) {
        inOrder &&= record.partition === p && record.position === positions[p]
        positions[p] = record.position + 1
        bytes += record.payload.length
      }
    }
  }
  parentPort?.postMessage({ positions, bytes, inOrder, endOrdinal: reader.endOrdinal() })
  await reader.close()
  parentPort?.close()
})
parentPort?.postMessage('ready')
