// Writes the workload's files:
//   node bench/workload/generate.ts events   --n 1000000 --users 1000000 [--zipf 1] [--seed 1] [--end ISO] [--span-ms MS] [--cover] --out FILE
//   node bench/workload/generate.ts segments --n 50 [--seed 7] --out FILE
import { closeSync, openSync, writeFileSync, writeSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { DEFAULT_EVENTS, type EventOptions, eventLines } from './events.ts'
import { segmentFile, segmentText } from './segments.ts'

const CHUNK_CHARACTERS = 4 << 20

/** Writes lines to a file; returns how many bytes. The lines must be ASCII, as the workload's are. */
export function writeLines(path: string, lines: Iterable<string>): number {
  const file = openSync(path, 'w')
  try {
    let chunk = ''
    let bytes = 0
    for (const line of lines) {
      chunk += `${line}\n`
      if (chunk.length < CHUNK_CHARACTERS) continue
      bytes += writeAll(file, chunk)
      chunk = ''
    }
    return bytes + writeAll(file, chunk)
  } finally {
    closeSync(file)
  }
}

function writeAll(file: number, text: string): number {
  const bytes = Buffer.from(text)
  for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at)
  return bytes.length
}

export interface Arguments {
  readonly command: string | undefined
  readonly values: { readonly [name: string]: string | boolean | undefined }
}

function numberOf(value: string | boolean | undefined, name: string): number | undefined {
  if (value === undefined) return undefined
  const number = Number(value)
  if (!Number.isFinite(number)) throw new Error(`--${name} takes a number, not ${value}`)
  return number
}

function readArguments(args: string[]): Arguments {
  const text = { type: 'string' } as const
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { n: text, users: text, zipf: text, seed: text, end: text, 'span-ms': text, out: text, cover: { type: 'boolean' } },
  })
  return { command: positionals[0], values }
}

function eventOptions(values: Arguments['values']): EventOptions {
  const given = (name: string, otherwise: number) => numberOf(values[name], name) ?? otherwise
  return {
    n: given('n', DEFAULT_EVENTS.n),
    users: given('users', DEFAULT_EVENTS.users),
    zipf: given('zipf', DEFAULT_EVENTS.zipf),
    seed: given('seed', DEFAULT_EVENTS.seed),
    endMs: values.end === undefined ? DEFAULT_EVENTS.endMs : Date.parse(String(values.end)),
    spanMs: given('span-ms', DEFAULT_EVENTS.spanMs),
    cover: values.cover === true,
  }
}

/** Runs the command line; returns what it prints. */
export function generate(args: string[]): string {
  const { command, values } = readArguments(args)
  const out = values.out
  if (typeof out !== 'string' || (command !== 'events' && command !== 'segments'))
    throw new Error('usage: generate.ts events|segments --n N … --out FILE')
  if (command === 'events') {
    const options = eventOptions(values)
    const bytes = writeLines(out, eventLines(options))
    return JSON.stringify({
      n: options.n,
      users: options.users,
      bytes,
      perEvent: Number((bytes / options.n).toFixed(1)),
      end: options.endMs,
    })
  }
  const n = numberOf(values.n, 'n') ?? 50
  writeFileSync(out, segmentText(segmentFile({ n, seed: numberOf(values.seed, 'seed') ?? 7 })))
  return JSON.stringify({ segments: n })
}

if (import.meta.main) console.log(generate(process.argv.slice(2)))
