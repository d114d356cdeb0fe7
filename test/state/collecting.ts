// Preloaded into a process whose worker threads shall collect garbage in every turn of their loops.
import { isMainThread } from 'node:worker_threads'

function collect(): void {
  globalThis.gc?.()
  setImmediate(collect)
}

if (!isMainThread) collect()
