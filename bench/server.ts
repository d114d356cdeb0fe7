// The product as a process of its own, as users start it, and what the kernel knows of what it costs.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as pause } from 'node:timers/promises'
import { must } from '../src/core/assert.ts'

const MAIN = join(import.meta.dirname, '..', 'src', 'main.ts')
/** Of the kernel's accounting: USER_HZ is 100 on every Linux that Node runs on. */
const TICK_US = 10_000
const READY_POLL_MS = 2

export interface ServerSetup {
  readonly dataDir: string
  readonly partitions: number
  readonly hosts: number
  /** More options of the command line. */
  readonly more?: readonly string[]
  /** Where to leave CPU profiles of all threads when it stops. */
  readonly profileDir?: string | undefined
}

export interface Usage {
  readonly cpuUs: number
  /** The thread of API and intake. */
  readonly mainCpuUs: number
  readonly rssMB: number
  /** Since the start or the last `resetPeak`. */
  readonly peakRssMB: number
  readonly writtenBytes: number
}

export class ServerProcess {
  readonly #child: ChildProcess
  readonly url: string
  readonly port: number
  readonly pid: number

  constructor(child: ChildProcess, url: string) {
    this.#child = child
    this.url = url
    this.port = Number(new URL(url).port)
    this.pid = must(child.pid, 'it has started')
  }

  usage(): Usage {
    return usageOf(this.pid)
  }

  /** CPU us by thread name: where a process's time goes that no profile shows (store, garbage collection). */
  threads(): { readonly [name: string]: number } {
    const byName: { [name: string]: number } = {}
    for (const id of readdirSync(`/proc/${this.pid}/task`)) {
      const stat = procFile(this.pid, `task/${id}/stat`)
      const name = stat.slice(stat.indexOf('(') + 1, stat.lastIndexOf(')'))
      byName[name] = (byName[name] ?? 0) + cpuUsOf(stat)
    }
    return byName
  }

  resetPeak(): void {
    writeFileSync(`/proc/${this.pid}/clear_refs`, '5')
  }

  async get<T>(path: string): Promise<T> {
    const reply = await fetch(this.url + path)
    if (!reply.ok) throw new Error(`GET ${path}: ${reply.status} ${await reply.text()}`)
    return (await reply.json()) as T
  }

  async post(path: string, body: unknown): Promise<void> {
    const headers = { 'content-type': 'application/json' }
    const reply = await fetch(this.url + path, { method: 'POST', headers, body: JSON.stringify(body) })
    if (!reply.ok) throw new Error(`POST ${path}: ${reply.status} ${await reply.text()}`)
    await reply.text()
  }

  /** Resolves once it takes events for all partitions that it was given. */
  async ready(): Promise<void> {
    while (!(await fetch(`${this.url}/readyz`)).ok) await pause(READY_POLL_MS)
  }

  /** Everything accepted is applied and relayed. */
  settle(): Promise<void> {
    return this.post('/v1/admin/settle', {})
  }

  /** The sum of a metric over its labels. */
  async figures(): Promise<(name: string) => number> {
    const text = await (await fetch(`${this.url}/metrics`)).text()
    return (name) => {
      let sum = 0
      for (const m of text.matchAll(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, 'gm'))) sum += Number(m[1])
      return sum
    }
  }

  async stop(): Promise<void> {
    await this.#end('SIGTERM')
  }

  async kill(): Promise<void> {
    await this.#end('SIGKILL')
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exited = once(this.#child, 'exit')
    this.#child.kill(signal)
    await exited
  }
}

const procFile = (pid: number, file: string): string => readFileSync(`/proc/${pid}/${file}`, 'utf8')

/** Of any process of ours. */
export function usageOf(pid: number): Usage {
  const status = procFile(pid, 'status')
  const kB = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0)
  return {
    cpuUs: cpuUsOf(procFile(pid, 'stat')),
    mainCpuUs: cpuUsOf(procFile(pid, `task/${pid}/stat`)),
    rssMB: Math.round(kB('VmRSS') / 1024),
    peakRssMB: Math.round(kB('VmHWM') / 1024),
    writtenBytes: Number(/^write_bytes: (\d+)/m.exec(procFile(pid, 'io'))?.[1] ?? 0),
  }
}

function cpuUsOf(stat: string): number {
  // The name in parentheses may hold anything; user and system time are the 12th and 13th field behind it.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) * TICK_US
}

/** Starts the product and resolves once it listens. */
export async function startServer({ dataDir, partitions, hosts, more = [], profileDir }: ServerSetup): Promise<ServerProcess> {
  const profiling = profileDir === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profileDir}`]
  const flags = ['--port', '0', '--data-dir', dataDir, '--partitions', String(partitions), '--hosts', String(hosts), '--log-level', 'error']
  const child = spawn(process.execPath, [...profiling, MAIN, 'start', ...flags, ...more], { stdio: ['ignore', 'pipe', 'inherit'] })
  // A benchmark that fails or is told to end takes its server along; a signal alone would skip what is done at the exit.
  const orphaned = () => child.kill('SIGKILL')
  const told = () => process.exit(1)
  process.once('exit', orphaned).once('SIGINT', told).once('SIGTERM', told)
  child.once('exit', () => process.off('exit', orphaned).off('SIGINT', told).off('SIGTERM', told))
  for await (const line of createInterface({ input: must(child.stdout, 'it is a pipe') })) {
    const url = /http:\/\/\S+/.exec(line)?.[0]
    if (url) return new ServerProcess(child, url)
  }
  throw new Error('the server ended before it listened')
}
