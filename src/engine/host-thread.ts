// A host in a worker thread: opens its files and speaks the messages of host.ts over the parent port.
import { parentPort, workerData } from 'node:worker_threads'
import { must } from '../core/assert.ts'
import { failureOf, Host, type ToHost } from './host.ts'
import { type HostSetup, openHostPorts } from './open-host.ts'

const port = must(parentPort, 'host-thread.ts runs in a worker')
const setup = workerData as HostSetup

try {
  const host = new Host(await openHostPorts(setup), (message) => port.postMessage(message))
  port.on('message', (message: ToHost) => host.receive(message))
  await host.open()
} catch (error) {
  port.postMessage({ t: 'failed', host: setup.host, error: failureOf(error) })
}
