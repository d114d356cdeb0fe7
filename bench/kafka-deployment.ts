// One deployment of the product on a broker: its prefix, its processes with their directories, and which of them run.
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { must } from '../src/core/assert.ts'
import { type ServerProcess, startServer } from './server.ts'
import { definitionsOf } from './workload/map.ts'
import { segmentFile } from './workload/segments.ts'

export interface DeploymentOptions {
  readonly brokers: string
  /** Of topics and directories. */
  readonly prefix: string
  /** Where the processes have their directories. */
  readonly dir: string
  readonly partitions: number
  /** After so long without a sign a process counts as dead. */
  readonly sessionMs: number
  /** On files instead, beside the same broker. */
  readonly isEmbedded?: boolean
  /** More options of the command line, of all processes. */
  readonly more?: readonly string[]
}

export interface ProcessOptions {
  /** Names its directory. */
  readonly name: string
  readonly isStandby?: boolean
  /** Whether it reads the users' topic. */
  readonly hasSource?: boolean
}

export class KafkaDeployment {
  readonly options: DeploymentOptions
  /** The users' topic, where there is one. */
  readonly source: string
  readonly #running = new Map<string, ServerProcess>()
  readonly #starting = new Set<Promise<ServerProcess>>()
  #isStopped = false

  constructor(options: DeploymentOptions) {
    this.options = options
    this.source = `${options.prefix}.source`
  }

  /** Those that run now. */
  get servers(): readonly ServerProcess[] {
    return [...this.#running.values()]
  }

  server(name: string): ServerProcess {
    return must(this.#running.get(name), `${name} runs`)
  }

  /** Resolves once it listens. */
  begin(options: ProcessOptions): Promise<ServerProcess> {
    const starting = this.#begin(options)
    this.#starting.add(starting)
    return starting.finally(() => this.#starting.delete(starting))
  }

  async #begin({ name, isStandby = false, hasSource = false }: ProcessOptions): Promise<ServerProcess> {
    const { brokers, prefix, partitions, sessionMs, isEmbedded = false } = this.options
    const kafka = ['--kafka.brokers', `[${brokers}]`, '--kafka.prefix', prefix, '--kafka.session-timeout-ms', String(sessionMs)]
    const source = { name: 'bench', topics: [this.source], brokers: [brokers], from: 'earliest' }
    const more = [
      ...(isEmbedded ? [] : kafka),
      ...(isStandby ? ['--kafka.standby', 'true'] : []),
      ...(hasSource ? ['--sources', JSON.stringify([source])] : []),
      ...(this.options.more ?? []),
    ]
    const server = await startServer({ dataDir: this.directoryOf(name), partitions, hosts: 1, more })
    this.#running.set(name, server)
    if (this.#isStopped) throw new Error('the deployment is stopped')
    return server
  }

  directoryOf(name: string): string {
    return join(this.options.dir, name)
  }

  /** SIGKILL; resolves once it is gone. */
  async kill(name: string): Promise<void> {
    const server = this.server(name)
    this.#running.delete(name)
    await server.kill()
  }

  /** SIGTERM; resolves once it is gone. */
  async end(name: string): Promise<void> {
    const server = this.server(name)
    this.#running.delete(name)
    await server.stop()
  }

  /** A disk is lost. */
  forget(name: string): void {
    rmSync(this.directoryOf(name), { recursive: true, force: true })
  }

  /** Saves the workload's segments, by a process that ends again. */
  async define(segments: number): Promise<void> {
    const server = await this.begin({ name: 'first' })
    for (const { id, where } of definitionsOf(segmentFile({ n: segments }))) await saveSegment(server, id, where)
    await server.settle()
    await this.end('first')
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    await Promise.allSettled(this.#starting)
    for (const name of [...this.#running.keys()]) await this.end(name)
  }
}

export async function saveSegment({ url }: ServerProcess, id: string, where: unknown): Promise<void> {
  const headers = { 'content-type': 'application/json' }
  const reply = await fetch(`${url}/v1/segments/${id}`, { method: 'PUT', headers, body: JSON.stringify({ where }) })
  if (!reply.ok) throw new Error(`PUT ${id}: ${reply.status} ${await reply.text()}`)
  await reply.arrayBuffer()
}
