// A server of its own for the demo: a child process on a free port, with a data directory that is removed with it.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

const MAIN = join(import.meta.dirname, '../../src/main.ts')

export interface ChildServer {
  readonly url: string
  /** Resolves to why the server ended by itself. */
  readonly ended: Promise<string>
  stop(): Promise<void>
}

export async function startServer(): Promise<ChildServer> {
  const dir = await mkdtemp(join(tmpdir(), 'tributary-demo-'))
  const flags = ['--port', '0', '--data-dir', join(dir, 'data'), '--clock', 'manual', '--log-level', 'warn']
  // Neither the options of an installation nor a tributary.yaml concern the demo.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('TRIBUTARY_')))
  const child = spawn(process.execPath, [MAIN, 'start', ...flags], { cwd: dir, env, stdio: ['ignore', 'pipe', 'inherit'] })
  const exited = once(child, 'exit')
  const ended = exited.then(([code, signal]) => `The server ended (${code ?? signal}).`)
  try {
    return { url: await urlOf(child, ended), ended, stop: () => stop(child, exited, dir) }
  } catch (error) {
    await stop(child, exited, dir)
    throw error
  }
}

async function urlOf(child: ChildProcess, ended: Promise<string>): Promise<string> {
  if (!child.stdout) throw new TypeError('the output of the server is a pipe')
  const lines = createInterface({ input: child.stdout })
  const line = once(lines, 'line').then(([text]) => String(text))
  const first = await Promise.race([line, ended])
  const url = /https?:\S+/.exec(first)?.[0]
  if (url === undefined) throw new Error(`${first} Its own lines above say why.`)
  return url
}

async function stop(child: ChildProcess, exited: Promise<unknown>, dir: string): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) {
    child.kill('SIGTERM')
    await exited
  }
  await rm(dir, { recursive: true, force: true })
}
