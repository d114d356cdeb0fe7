#!/usr/bin/env node
import { errorLines } from './cli/failure.ts'
// The composition root: this process's streams, signals and clock, handed to a command.
import { assertPlatform } from './cli/platform.ts'
import { systemClock } from './core/clock.ts'

const INTERRUPTED = 130

const interrupted = interruption()

async function main(): Promise<number> {
  assertPlatform(process.versions.node, process.platform, process.arch)
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
