// The test runner itself: tests must run on the Node that the product runs on, with workers that strip types natively.
import { Worker } from 'node:worker_threads'
import { expect, test } from 'vitest'

test('tests run on Node 24', () => {
  expect(process.versions.node.split('.')[0]).toBe('24')
})

test('a worker started from a TypeScript file runs', async () => {
  const worker = new Worker(new URL('./fixtures/echo-thread.ts', import.meta.url))
  try {
    worker.postMessage({ n: 20 })
    expect(await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))).toEqual({ n: 21 })
  } finally {
    await worker.terminate()
  }
})
