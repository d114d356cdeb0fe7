#!/usr/bin/env node
import { enableCompileCache, flushCompileCache } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { errorLines } from './cli/failure.ts'
// The composition root: this process's streams, signals and clock, handed to a command.
import { assertPlatform } from './cli/platform.ts'
import { systemClock } from './core/clock.ts'

const INTERRUPTED = 130

/** When all of a server's modules have been loaded, and it isn't at its busiest any more. */
const KEEP_COMPILED_AFTER_MS = 5000

const interrupted = interruption()

async function main(): Promise<number> {
  assertPlatform(process.versions.node, process.platform, process.arch)
  keepCompiled()
  const { runCommand } = await import('./cli/commands.ts')
  return runCommand(process.argv.slice(2), {
    out: process.stdout,
    err: process.stderr,
    input: process.stdin,
    env: process.env,
    cwd: process.cwd(),
    clock: systemClock,
    interrupted,
  })
}

/** Most of the time of a start goes into compiling what the last start has compiled: Node keeps that in a directory of its own for each user. */
function keepCompiled(): void {
  // By the environment, where threads look as well.
  process.env.NODE_COMPILE_CACHE ??= join(tmpdir(), 'node-compile-cache')
  enableCompileCache(process.env.NODE_COMPILE_CACHE)
  // At the end it would be too late: servers are killed.
  systemClock.after(KEEP_COMPILED_AFTER_MS, flushCompileCache)
}

/** The first signal asks to stop, the second stops. */
function interruption(): AbortSignal {
  const controller = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      if (controller.signal.aborted) process.exit(INTERRUPTED)
      controller.abort(signal)
    })
  }
  return controller.signal
}

// Whoever read our output has gone (`… | head`): there is nobody left to write for.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1))

try {
  process.exitCode = await main()
} catch (error) {
  if (interrupted.aborted) process.exit(INTERRUPTED)
  process.stderr.write(errorLines(error))
  process.exitCode = 1
}
process.exit()
