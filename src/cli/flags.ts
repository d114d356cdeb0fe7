// Flags, strictly: an unknown one is an error with a suggestion, never ignored.
import { parseArgs } from 'node:util'
import type { Command, FlagSpec, Io } from './command.ts'
import { usageError } from './failure.ts'
import { nearest } from './nearest.ts'
import { table } from './terminal.ts'

export class Flags {
  readonly positionals: readonly string[]
  readonly #values: ReadonlyMap<string, readonly string[]>
  readonly #command: string

  constructor(command: string, values: ReadonlyMap<string, readonly string[]>, positionals: readonly string[]) {
    this.#command = command
    this.#values = values
    this.positionals = positionals
  }

  on(name: string): boolean {
    return this.#values.has(name)
  }
  text(name: string): string | undefined {
    return this.#values.get(name)?.at(-1)
  }
  texts(name: string): readonly string[] {
    return this.#values.get(name) ?? []
  }
  /** A whole number within bounds, or `otherwise`. */
  count(name: string, { min, max, otherwise }: { min: number; max: number; otherwise: number }): number {
    const text = this.text(name)
    if (text === undefined) return otherwise
    const n = Number(text)
    if (!Number.isInteger(n) || n < min || n > max) {
      throw usageError(`--${name} is a whole number from ${min} to ${max}, not ${JSON.stringify(text)}.`, this.#command)
    }
    return n
  }
}

const HELP: FlagSpec = { name: 'help', description: 'Show this.' }

export const CONNECTION: readonly FlagSpec[] = [
  { name: 'url', value: 'URL', description: 'The server (TRIBUTARY_URL; http://127.0.0.1:8080).' },
  { name: 'key', value: 'KEY', description: 'Its key (TRIBUTARY_KEY).' },
]

export function readFlags(command: Pick<Command, 'name' | 'flags'>, argv: readonly string[]): Flags {
  const specs = new Map([...command.flags, HELP].map((spec) => [spec.name, spec]))
  const options = Object.fromEntries(
    [...specs].map(([name, { value }]) => [name, { type: value === undefined ? 'boolean' : 'string' } as const]),
  )
  const { tokens } = parseArgs({ args: [...argv], options, strict: false, tokens: true, allowPositionals: true })
  const values = new Map<string, string[]>()
  const positionals: string[] = []
  for (const token of tokens) {
    if (token.kind === 'positional') positionals.push(token.value)
    if (token.kind !== 'option') continue
    const spec = specs.get(token.name)
    if (spec === undefined)
      throw usageError(`${token.rawName} is no flag of this command.${nearest(token.name, [...specs.keys()], '--')}`, command.name)
    if (spec.value === undefined && token.value !== undefined) throw usageError(`--${spec.name} takes no value.`, command.name)
    if (spec.value !== undefined && (token.value === undefined || (!token.inlineValue && token.value.startsWith('--')))) {
      throw usageError(`--${spec.name} needs a value: --${spec.name} ${spec.value}.`, command.name)
    }
    const before = values.get(spec.name) ?? []
    if (before.length > 0 && !spec.repeated) throw usageError(`--${spec.name} is given twice.`, command.name)
    values.set(spec.name, [...before, token.value ?? ''])
  }
  return new Flags(command.name, values, positionals)
}

/** Refuses words that the command has no use for. */
export function noPositionals(flags: Flags, command: string): void {
  const [first] = flags.positionals
  if (first !== undefined) throw usageError(`${JSON.stringify(first)} is not expected here.`, command)
}

export function helpText({ name, usage, summary, details, flags }: Command, extra: readonly (readonly [string, string])[] = []): string {
  const rows = [...flags, HELP].map(
    ({ name, value, description }) => [`  --${name}${value === undefined ? '' : ` ${value}`}`, description] as const,
  )
  const options = table([...rows, ...extra.map(([flag, text]) => [`  ${flag}`, text] as const)])
  return [`tributary ${name} ${usage}`.trimEnd(), '', summary, ...(details === undefined ? [] : ['', details.trim()]), '', options].join(
    '\n',
  )
}

/** True when `--help` was asked for, and shown. */
export function showsHelp(flags: Flags, command: Command, io: Io): boolean {
  if (!flags.on('help')) return false
  io.out.write(helpText(command))
  return true
}
