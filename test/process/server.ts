// The real server as a child process: started, killed, started again on the same directory.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const MAIN = join(import.meta.dirname, '../../src/main.ts')
const START_LIMIT_MS = 60_000
/** Of its log lines, the last so many characters are kept for the report of a failure. */
const KEPT_CHARACTERS = 20_000

export interface Exit {
  readonly code: number | null
  readonly signal: string | null
}

/** What Node itself is told. */
export interface NodeOptions {
  readonly argv?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
}

/** A place for data, removed by `remove`. */
export class DataDirectory {
  readonly #root = mkdtempSync(join(tmpdir(), 'tributary-process-'))
  readonly path = join(this.#root, 'data')

  remove(): void {
    rmSync(this.#root, { recursive: true, force: true })
  }
}

const running = new Set<ChildProcess>()
// However this process ends, no server outlives it.
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})
process.once('SIGTERM', () => process.exit(1))

/** A server that may or may not have come up. */
export class ServerProcess {
  readonly exited: Promise<Exit>
  readonly #child: ChildProcess
  #out = ''
  #err = ''
  #url: string | undefined

  constructor(dataDir: string, flags: readonly string[] = [], node: NodeOptions = {}) {
    // Neither the options of an installation nor a tributary.yaml concern the tests.
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('TRIBUTARY_')))
    const argv = [...(node.argv ?? []), MAIN, 'start', '--port', '0', '--data-dir', dataDir, '--log-level', 'warn', ...flags]
    const child = spawn(process.execPath, argv, { cwd: tmpdir(), env: { ...env, ...node.env }, stdio: ['ignore', 'pipe', 'pipe'] })
    this.#child = child
    running.add(child)
    child.stdout?.on('data', (chunk) => {
      this.#out += chunk
    })
    child.stderr?.on('data', (chunk) => {
      this.#err = (this.#err + chunk).slice(-KEPT_CHARACTERS)
    })
    this.exited = once(child, 'close').then(([code, signal]) => {
      running.delete(child)
      return { code, signal }
    })
  }

  /** What it wrote to stderr, the newest. */
  get err(): string {
    return this.#err
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  get url(): string {
    if (this.#url === undefined) throw new Error('the server does not listen yet')
    return this.#url
  }

  /** Resolves when it listens. Fails with its own words when it ends before that. */
  async listening(): Promise<this> {
    const deadline = Date.now() + START_LIMIT_MS
    let ended: Exit | undefined
    this.exited.then((exit) => {
      ended = exit
    })
    while (!this.#out.includes('\n')) {
      if (ended) throw new Error(`the server ended (${ended.code ?? ended.signal}): ${this.#err}`)
      if (Date.now() > deadline) throw new Error(`the server did not listen within ${START_LIMIT_MS} ms: ${this.#err}`)
      await pause(5)
    }
    this.#url = /http:\S+/.exec(this.#out)?.[0]
    if (this.#url === undefined) throw new Error(`no URL in ${JSON.stringify(this.#out)}`)
    return this
  }

  async end(signal: 'SIGKILL' | 'SIGTERM' | 'SIGINT'): Promise<Exit> {
    this.#child.kill(signal)
    return this.exited
  }
}

/** Starts a server and waits until it listens. */
export function startServer(dataDir: string, flags: readonly string[] = []): Promise<ServerProcess> {
  return new ServerProcess(dataDir, flags).listening()
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
