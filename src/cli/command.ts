// What a command is given and what it is: one file per command, one line each in commands.ts.
import type { Readable } from 'node:stream'
import type { Clock } from '../core/clock.ts'

/** Where a command writes; process.stdout is one. */
export interface Output {
  write(text: string): unknown
  readonly isTTY?: boolean
  readonly columns?: number
}

export interface Io {
  readonly out: Output
  readonly err: Output
  readonly input: Readable & { readonly isTTY?: boolean }
  readonly env: { readonly [name: string]: string | undefined }
  readonly cwd: string
  readonly clock: Clock
  /** Aborted by the first Ctrl-C or SIGTERM. */
  readonly interrupted: AbortSignal
}

export interface FlagSpec {
  readonly name: string
  /** What its value is called; a flag without one is a switch. */
  readonly value?: string
  readonly description: string
  /** May be given several times. */
  readonly repeated?: boolean
}

export interface Command {
  readonly name: string
  /** One line for the list of commands. */
  readonly summary: string
  /** What follows the command's name, such as `FILE… [options]`. */
  readonly usage: string
  /** Paragraphs for `--help`. */
  readonly details?: string
  readonly flags: readonly FlagSpec[]
  /** Resolves to the exit code. */
  run(argv: readonly string[], io: Io): Promise<number>
}
