// What can happen to a running server, one entry of the table each. A fault begins with a server that runs and ends with one.
import { readFileSync } from 'node:fs'
import type { EngineStatus } from '../../src/engine/engine.ts'
import { below, type Random } from '../identity/random.ts'
import { call } from './client.ts'
import { type Exit, pause, type ServerProcess } from './server.ts'
import type { SmallDisk } from './small-disk.ts'

/** What a fault works on. */
export interface Ground {
  readonly random: Random
  readonly server: () => ServerProcess
  /** Starts a server in place of the one that was ended. */
  readonly start: () => Promise<void>
  /** The server that runs now may say that the disk is full, and end of it. */
  readonly expectFullDisk: () => void
  /** Asks for something that the server has to write, whatever is free. */
  readonly write: () => Promise<unknown>
  /** Starts a server that is not waited for. */
  readonly begin: () => ServerProcess
  readonly disk: SmallDisk | undefined
  /** Below so much free space the server takes nothing in. */
  readonly minFreeBytes: number
  readonly say: (what: string) => void
}

export type Fault = (ground: Ground) => Promise<void>

const STARTUP_MS = 900
const LONGEST_STOP_MS = 1500
/** How long a server may go on without noticing what is free. */
const FULL_LIMIT_MS = 30_000
const EXIT_LIMIT_MS = 15_000

export const FAULTS = {
  /** The process dies at any moment. */
  async killed(g) {
    await g.server().end('SIGKILL')
    await g.start()
  },

  /** … also before it is up, some times. */
  async 'killed while starting'(g) {
    await g.server().end('SIGKILL')
    for (let i = 1 + below(g.random, 2); i > 0; i--) {
      const early = g.begin()
      await pause(below(g.random, STARTUP_MS))
      await early.end('SIGKILL')
    }
    await g.start()
  },

  /** The machine is suspended, or swaps: the process stands still, and goes on as if nothing had been. */
  async 'stood still'(g) {
    const { pid } = g.server()
    process.kill(pid, 'SIGSTOP')
    await untilStopped(pid)
    await pause(50 + below(g.random, LONGEST_STOP_MS))
    process.kill(pid, 'SIGCONT')
    await pause(100)
  },

  /** … and is killed while it stands still. */
  async 'killed standing still'(g) {
    process.kill(g.server().pid, 'SIGSTOP')
    await pause(below(g.random, LONGEST_STOP_MS / 3))
    await g.server().end('SIGKILL')
    await g.start()
  },

  async 'ended in good order'(g) {
    const exit = await g.server().end('SIGTERM')
    if (exit.code !== 0) throw new Error(`it ended with ${JSON.stringify(exit)} when asked to: ${g.server().err}`)
    await g.start()
  },

  /** Too little is free for new messages, and enough for those that were taken. */
  async 'disk nearly full'(g) {
    const disk = diskOf(g)
    disk.fillUpTo(g.minFreeBytes * 0.9)
    await untilAnswered(g, '429 disk_full')
    const reply = await fetch(`${g.server().url}/v1/track`, { method: 'POST', body: '{"event":"Refused","userId":"refused"}' })
    if (reply.status !== 429) throw new Error(`on a disk that is nearly full it answers ${reply.status} ${await reply.text()}`)
    disk.empty()
    await untilAnswered(g, '200')
  },

  /** Nothing can be written any more: it ends with words, or a partition stands still with a reason; with room again it goes on. */
  async 'disk full'(g) {
    const disk = diskOf(g)
    g.expectFullDisk()
    disk.fillUpTo(0)
    const end = await Promise.race([g.server().exited, stoodStill(g)])
    g.say(`on the full disk: ${JSON.stringify(end)}`)
    if (end !== 'stopped') mustTellOfIt(end, g.server().err)
    if (end !== 'stopped' && g.random() < 0.5) await triedInVain(g)
    disk.empty()
    await g.server().end('SIGKILL')
    await g.start()
  },
} satisfies { readonly [name: string]: Fault }

export type FaultName = keyof typeof FAULTS
export const FAULT_NAMES = Object.keys(FAULTS) as FaultName[]
/** What `npm run test:kill` does. */
export const KILLS: readonly FaultName[] = ['killed', 'killed', 'killed', 'killed', 'killed while starting']

/** Those that need a disk of their own. */
export const needsDisk = (name: FaultName): boolean => name.startsWith('disk')

function diskOf({ disk }: Ground): SmallDisk {
  if (!disk) throw new Error('this fault needs a disk of its own')
  return disk
}

/** Free space is looked at now and then: until a request without messages is answered so. */
async function untilAnswered({ server }: Ground, expected: string): Promise<void> {
  for (const deadline = Date.now() + FULL_LIMIT_MS; ; await pause(50)) {
    // A connection that was idle for long may be closed at the very moment at which it is used again.
    const answer = await answerOf(server().url).catch(String)
    if (answer === expected) return
    if (Date.now() > deadline) throw new Error(`what is free has changed, and it answers ${answer} instead of ${expected}`)
  }
}

async function answerOf(url: string): Promise<string> {
  const reply = await fetch(`${url}/v1/batch`, { method: 'POST', body: '{"batch":[]}' })
  const { code } = (await reply.json()) as { code?: string }
  return code === undefined ? String(reply.status) : `${reply.status} ${code}`
}

/** The signal has arrived when the kernel says so. */
async function untilStopped(pid: number): Promise<void> {
  while (!/^State:\s+T/m.test(readFileSync(`/proc/${pid}/status`, 'latin1'))) await pause(2)
}

/** Has it write until a partition says that it has stopped, or the server is gone. */
async function stoodStill({ server, write }: Ground): Promise<'stopped' | Exit> {
  const { url, exited } = server()
  let exit: Exit | undefined
  exited.then((e) => {
    exit = e
  })
  for (const deadline = Date.now() + FULL_LIMIT_MS; exit === undefined; ) {
    if (Date.now() > deadline) throw new Error('nobody notices that the disk is full')
    await write().catch(() => {})
    await pause(20)
    const status = await call<EngineStatus>(url, '/v1/status').catch(() => undefined)
    if (status?.partitions.some((p) => p.state === 'stopped' && saysFull(p.reason ?? ''))) return 'stopped'
  }
  return exit
}

export function saysFull(text: string): boolean {
  return /ENOSPC|no space left/i.test(text)
}

function mustTellOfIt(exit: Exit, err: string): void {
  if (exit.code !== 1 || !saysFull(err)) throw new Error(`on a full disk it ended with ${JSON.stringify(exit)} and the words ${err}`)
}

/** A start on the full disk fails with words, or succeeds: then it is killed. */
async function triedInVain(g: Ground): Promise<void> {
  const server = g.begin()
  const exit = await Promise.race([server.exited, server.listening().catch(() => server.exited), pause(EXIT_LIMIT_MS)])
  if (exit && 'code' in exit) mustTellOfIt(exit, server.err)
  else await server.end('SIGKILL')
}
