// A host in a worker thread: opens its files and speaks the messages of host.ts over the parent port.
import { once } from 'node:events'
import { parentPort } from 'node:worker_threads'
import { must } from '../core/assert.ts'
import { alone, Mail } from '../core/mail.ts'
import { type FromHost, failureOf, Host, type HostPorts, type ToHost } from './host.ts'
import { type HostSetup, openHostPorts } from './open-host.ts'
import type { KafkaHostSetup } from './open-kafka-host.ts'
import { Opened } from './opened.ts'

// Most buffers are small and soon gone: slabs that hold many of them cost least.
Buffer.poolSize = 256 << 10

const port = must(parentPort, 'host-thread.ts runs in a worker')
const [setup] = (await once(port, 'message')) as [HostSetup | KafkaHostSetup]
const opened = new Opened()
let closing: number | undefined

const mail = new Mail<FromHost>((messages, transfer) => port.postMessage(messages, transfer))

function post(message: FromHost): void {
  if (message.t === 'relay') {
    const payload = alone(message.payload)
    mail.post({ ...message, payload }, payload.buffer)
  } else if (message.t === 'exchange') {
    const bytes = alone(message.bytes)
    mail.post({ ...message, bytes }, bytes.buffer)
  } else if (message.t === 'answer' && message.answer?.kind === 'rows') {
    const { id, answer } = message
    const rows = answer.rows.map(([suffix, value]) => [suffix, alone(value)] as const)
    mail.post({ t: 'answer', id, answer: { ...answer, rows } })
  } else mail.post(message)
  // Nothing is said after the answer to `close`; with the port closed the thread ends.
  if (message.t === 'answer' && message.id === closing) end()
}

function end(): void {
  mail.flush()
  port.close()
}

/** The client of a cluster is loaded where there is one. */
async function openPorts(): Promise<HostPorts> {
  if (!('kafka' in setup)) return openHostPorts(setup, opened)
  const { openKafkaHost } = await import('./open-kafka-host.ts')
  return openKafkaHost(setup, opened, {
    troubled: (error) => post({ t: 'troubled', error: failureOf(error) }),
    warning: (message) => post({ t: 'warning', message }),
    restoring: (restore) => post({ t: 'restoring', restore }),
  })
}

try {
  const host = new Host(await openPorts(), post)
  port.on('message', (messages: readonly ToHost[]) => {
    for (const message of messages) {
      if (message.t === 'close') closing = message.id
      host.receive(message)
    }
  })
  await host.open()
} catch (error) {
  await opened.close()
  post({ t: 'failed', host: setup.host, error: failureOf(error) })
  end()
}
