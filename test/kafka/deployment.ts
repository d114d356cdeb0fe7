// Real servers that form one deployment on a broker: started, killed, stopped, asked; and clients that send a message to whichever
// answers, again and again with the same id, until one has accepted it.
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Transition } from '../../src/core/transition.ts'
import { type Exit, pause, ServerProcess } from '../process/server.ts'

export const SESSION_MS = 3000
const REQUEST_MS = 8000
const RETRY_MS = 100

export interface DeploymentOptions {
  /** Absent: each server stands alone, on files. */
  readonly kafka?: { readonly brokers: string; readonly prefix: string; readonly outputs?: object; readonly deleteEveryMs?: number }
  readonly partitions: number
  readonly flags?: readonly string[]
  readonly standby?: boolean
  /** Where its directory lies; by default among all temporary files. */
  readonly directory?: string
  /** Options that no flag takes. */
  readonly config?: object
}

interface StartOptions {
  readonly standby?: boolean
  /** By default what the flags say. */
  readonly hosts?: number
}

/** A server is no more, and nobody here has ended it. */
export class EndedError extends Error {}

export class Deployment {
  readonly #options: DeploymentOptions
  readonly #root: string
  readonly #servers = new Map<string, ServerProcess>()
  /** Of those that are no more. */
  readonly #said: string[] = []
  #next = 0
  /** Of one that ended by itself. */
  #ended: string | undefined

  constructor(options: DeploymentOptions) {
    this.#options = options
    this.#root = mkdtempSync(join(options.directory ?? tmpdir(), 'tributary-deployment-'))
  }

  async start(name: string, { standby = this.#options.standby ?? false, hosts }: StartOptions = {}): Promise<void> {
    const server = await new ServerProcess(join(this.#root, name), this.#argv({ standby, hosts })).listening()
    this.#servers.set(name, server)
    void server.exited.then(({ code }) => {
      // None ends by itself; what is killed here is no longer among them.
      if (this.#servers.get(name) === server) this.#ended = `${name} ended with code ${code}: ${server.err}`
    })
  }

  #argv({ standby, hosts }: { readonly standby: boolean; readonly hosts: number | undefined }): string[] {
    const { kafka: cluster, partitions, flags = [], config } = this.#options
    const argv = ['--partitions', String(partitions), ...flags]
    if (hosts !== undefined) argv.push('--hosts', String(hosts))
    if (cluster) {
      const { brokers, ...rest } = cluster
      argv.push('--kafka', JSON.stringify({ brokers: [brokers], ...rest, sessionTimeoutMs: SESSION_MS, standby }))
    }
    if (config) {
      const file = join(this.#root, 'tributary.yaml')
      writeFileSync(file, JSON.stringify(config))
      argv.push('--config', file)
    }
    return argv
  }

  async end(name: string, signal: 'SIGKILL' | 'SIGTERM'): Promise<Exit> {
    const server = this.#of(name)
    this.#servers.delete(name)
    const exit = await server.end(signal)
    this.#said.push(server.err)
    return exit
  }

  /** SIGSTOP or SIGCONT. */
  signal(name: string, signal: 'SIGSTOP' | 'SIGCONT'): void {
    if (this.#ended !== undefined) throw new EndedError(this.#ended)
    process.kill(this.#of(name).pid, signal)
  }

  loseDisk(name: string): void {
    rmSync(join(this.#root, name), { recursive: true })
  }

  /** Partitions of which a process has a store. */
  stores(name: string): string[] {
    return readdirSync(join(this.#root, name, 'stores')).sort()
  }

  urlOf(name: string): string {
    return this.#of(name).url
  }

  /** The newest of what all of them, the ended ones too, wrote to stderr. */
  said(): string[] {
    return [...this.#said, ...[...this.#servers.values()].map((server) => server.err)]
  }

  get names(): string[] {
    return [...this.#servers.keys()]
  }

  #of(name: string): ServerProcess {
    const server = this.#servers.get(name)
    if (!server) throw new Error(`${name} does not run`)
    return server
  }

  /** Asks the servers in turn until one answers with success. */
  async ask<T>(path: string, init: { method?: string; body?: unknown } = {}): Promise<T> {
    for (;;) {
      if (this.#ended !== undefined) throw new EndedError(this.#ended)
      const servers = [...this.#servers.values()]
      const server = servers[this.#next++ % Math.max(1, servers.length)]
      const reply = server && (await this.#once(server, path, init))
      if (reply?.ok) return (await reply.json()) as T
      if (reply && reply.status < 500 && reply.status !== 429) throw new Error(`${path}: ${reply.status} ${await reply.text()}`)
      await pause(RETRY_MS)
    }
  }

  async #once(
    server: ServerProcess,
    path: string,
    { method = 'GET', body }: { method?: string; body?: unknown },
  ): Promise<Response | undefined> {
    const content = body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }
    const signal = AbortSignal.timeout(REQUEST_MS)
    return fetch(server.url + path, { method, ...content, signal }).catch(() => undefined)
  }

  /** Every transition of the topic, repeats included. */
  async transitions(): Promise<Transition[]> {
    const all: Transition[] = []
    for (let after = ''; ; ) {
      const page = await this.ask<{ items: Transition[]; next?: string }>(`/v1/transitions?limit=1000${after}`)
      all.push(...page.items)
      if (page.next === undefined || page.items.length === 0) return all
      after = `&after=${encodeURIComponent(page.next)}`
    }
  }

  async close(): Promise<void> {
    for (const name of this.names) await this.end(name, 'SIGKILL')
    rmSync(this.#root, { recursive: true, force: true })
  }
}
