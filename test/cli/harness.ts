// Commands run in this process against a fake engine behind the real API on a loopback port.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { runCommand } from '../../src/cli/commands.ts'
import { errorLines } from '../../src/cli/failure.ts'
import { type Clock, systemClock } from '../../src/core/clock.ts'
import { type Harness, harness } from '../api/harness.ts'

export interface Ran {
  readonly code: number
  readonly out: string
  readonly err: string
}

export interface RunOptions {
  readonly url?: string
  readonly stdin?: string
  readonly tty?: boolean
  readonly signal?: AbortSignal
  /** The machine's, unless there is another. */
  readonly clock?: Clock
  readonly onOut?: (all: string) => void
}

export async function run(argv: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const written = { out: '', err: '' }
  const output = (name: 'out' | 'err') => ({
    isTTY: options.tty === true,
    columns: 120,
    write(text: string) {
      written[name] += text
      if (name === 'out') options.onOut?.(written.out)
    },
  })
  let code = 1
  try {
    code = await runCommand(argv, {
      out: output('out'),
      err: output('err'),
      input: Readable.from(options.stdin === undefined ? [] : [Buffer.from(options.stdin)]),
      env: options.url === undefined ? {} : { TRIBUTARY_URL: options.url },
      cwd: '.',
      clock: options.clock ?? systemClock,
      interrupted: options.signal ?? new AbortController().signal,
    })
  } catch (error) {
    written.err += errorLines(error)
  }
  return { code, ...written }
}

export interface Live extends Harness {
  readonly url: string
}

export async function listening(options: { [name: string]: unknown } = {}): Promise<Live> {
  const h = harness(options)
  await h.app.listen({ port: 0, host: '127.0.0.1' })
  const address = h.app.server.address()
  return { ...h, url: `http://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}` }
}

/** A directory that holds these files. */
export function folder(files: { readonly [name: string]: string | Buffer }): {
  readonly dir: string
  path(name: string): string
  remove(): void
} {
  const dir = mkdtempSync(join(tmpdir(), 'tributary-cli-'))
  for (const [name, content] of Object.entries(files)) writeFileSync(join(dir, name), content)
  return { dir, path: (name) => join(dir, name), remove: () => rmSync(dir, { recursive: true, force: true }) }
}

/** Waits for something that a test has brought about; a busy machine may take its time. */
export async function until(holds: () => boolean, what: string): Promise<void> {
  for (let i = 0; i < 6000; i++) {
    if (holds()) return
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  throw new Error(`not within a minute: ${what}`)
}

/** A clock on which nothing takes time but waiting, which takes none in truth. */
export class WaitingClock implements Clock {
  /** How long was waited, each time. */
  readonly waits: number[] = []
  #now = 1_700_000_000_000

  now(): number {
    return this.#now
  }

  monotonicMs(): number {
    return this.#now
  }

  after(delayMs: number, run: () => void): () => void {
    const next = setImmediate(() => {
      this.#now += delayMs
      this.waits.push(delayMs)
      run()
    })
    return () => clearImmediate(next)
  }
}
