// The registry of commands: a new one is a file and a line here.
import type { Command, Io } from './command.ts'
import { CommandError } from './failure.ts'
import { nearest } from './nearest.ts'
import { replay } from './replay.ts'
import { segments } from './segments.ts'
import { start } from './start.ts'
import { status } from './status.ts'
import { tail } from './tail.ts'
import { table } from './terminal.ts'
import { VERSION } from './version.ts'

const COMMANDS: readonly Command[] = [start, replay, segments, status, tail]

/** Runs what the words ask for; without a command, or with flags only, that is `start`. Resolves to the exit code. */
export async function runCommand(argv: readonly string[], io: Io): Promise<number> {
  const [first, ...rest] = argv
  if (first === '--version' || first === '-v' || first === 'version') {
    io.out.write(`${VERSION}\n`)
    return 0
  }
  if (first === 'help' || first === '-h' || (first === '--help' && rest.length === 0)) return help(rest[0], io)
  if (first === undefined || first.startsWith('-')) return start.run(argv, io)
  return commandNamed(first).run(rest, io)
}

function commandNamed(name: string): Command {
  const command = COMMANDS.find((c) => c.name === name)
  if (command) return command
  const suggestion = nearest(name, [...COMMANDS.map((c) => c.name), 'help'])
  throw new CommandError('usage', `There is no command ${name}.${suggestion}`, 'Run `tributary help` for the list of commands.')
}

async function help(name: string | undefined, io: Io): Promise<number> {
  if (name !== undefined && name !== 'help') return commandNamed(name).run(['--help'], io)
  const rows = COMMANDS.map((c) => [`  tributary ${c.name} ${c.usage}`, c.summary])
  io.out.write(`Tributary ${VERSION}: a streaming customer data platform.

${table([...rows, ['  tributary help COMMAND', 'What a command takes.'], ['  tributary --version', 'The version.']])}
In a clone, \`npm start -- FLAGS\` is \`tributary start FLAGS\`, and \`npm run tributary -- COMMAND …\` the rest.
`)
  return 0
}
