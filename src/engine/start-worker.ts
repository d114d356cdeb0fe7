// Starts a host in a worker thread (host-thread.ts) and waits until it is open. Owns the thread's ends: it opens, or fails to; later it
// can only die, which is fatal.
import { Worker } from 'node:worker_threads'
import { TributaryError } from '../core/errors.ts'
import { Mail } from '../core/mail.ts'
import type { FromHost, ToHost } from './host.ts'
import { errorOf } from './links.ts'
import type { HostSetup } from './open-host.ts'
import type { KafkaHostSetup } from './open-kafka-host.ts'
import type { HostLink } from './ports.ts'

export interface WorkerOptions {
  readonly partitions: readonly number[]
  readonly receive: (message: FromHost) => void
  readonly fatal: (error: Error) => void
  /** A spare one; absent: one of its own. */
  readonly worker?: Worker | undefined
}

/** What a batch allocates should die before it is promoted. */
const YOUNG_GENERATION_MB = 96

/** Begins to load what a host is made of, while it is not known yet what the host is to have. Keeps no process alive. */
export function spareWorker(): Worker {
  const worker = new Worker(new URL('./host-thread.ts', import.meta.url), {
    resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
  })
  worker.unref()
  return worker
}

export function startWorker(
  setup: HostSetup | KafkaHostSetup,
  { partitions, receive, fatal, worker = spareWorker() }: WorkerOptions,
): Promise<HostLink> {
  return new Promise((resolve, reject) => {
    worker.ref()
    worker.postMessage(setup)
    const mail = new Mail<ToHost>((messages) => worker.postMessage(messages))
    const link: HostLink = { partitions, post: (message) => mail.post(message) }
    let opened = false
    worker.on('message', (messages: readonly FromHost[]) => {
      for (const message of messages) {
        if (message.t === 'opened') {
          opened = true
          resolve(link)
        } else if (message.t === 'failed' && !opened) reject(errorOf(message.error))
        else receive(message)
      }
    })
    const fail = (error: Error): void => (opened ? fatal(error) : reject(error))
    worker.on('error', (error) => fail(error instanceof Error ? error : new Error(String(error))))
    worker.on('exit', (code) => {
      if (code !== 0) fail(new TributaryError('internal', `the thread of host ${setup.host} ended with code ${code}`))
    })
  })
}
