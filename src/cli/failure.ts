// Errors as the command line tells them: `code: message`, then what to do next.
import { ERRORS, type ErrorCode, TributaryError } from '../core/errors.ts'

/** A failure that is the user's to mend: shown as `code: message`, then what to do next. */
export class CommandError extends Error {
  override readonly name = 'CommandError'
  readonly code: string
  readonly hint: string
  readonly detail: string | undefined
  constructor(code: string, message: string, hint: string, detail?: string) {
    super(message)
    this.code = code
    this.hint = hint
    this.detail = detail
  }
}

export function usageError(message: string, command: string): CommandError {
  return new CommandError('usage', message, `Run \`tributary ${command} --help\` to see what it takes.`)
}

/** An error as lines: code and message, detail, what to do next. */
export function errorLines(error: unknown): string {
  if (error instanceof CommandError || error instanceof TributaryError) {
    const detail = error.detail === undefined ? '' : `\n  ${error.detail}`
    return `${error.code}: ${error.message}${detail}\n  What to do next: ${error.hint}\n`
  }
  const known = systemCode(error)
  if (known !== undefined) return errorLines(known)
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
  return `internal: ${text}\n  What to do next: this is a fault of the program; report it with the lines above.\n`
}

const SYSTEM: { readonly [code: string]: readonly [message: string, hint: string] } = {
  ENOENT: ['There is no such file', 'Check the path.'],
  EACCES: ['The file may not be read or written', 'Check its owner and permissions.'],
  EISDIR: ['This is a directory', 'Name a file.'],
  ENOTDIR: ['This is no directory', 'Name a directory.'],
  ENOSPC: ['The disk is full', 'Make room and start again.'],
  EROFS: ['The file system is read-only', 'Choose another place.'],
}

function systemCode(error: unknown): CommandError | undefined {
  const { code, path } = error as NodeJS.ErrnoException
  const known = code === undefined ? undefined : SYSTEM[code]
  return code !== undefined && known ? new CommandError(code, `${known[0]}${path === undefined ? '' : `: ${path}`}.`, known[1]) : undefined
}

/** The hint that the registry has for a code, for errors that came over the wire. */
export function hintOf(code: string): string | undefined {
  return Object.hasOwn(ERRORS, code) ? ERRORS[code as ErrorCode].hint : undefined
}
