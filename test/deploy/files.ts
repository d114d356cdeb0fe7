// What the files of deployment say, read as their tools read them.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse, parseAllDocuments } from 'yaml'
import { must } from '../../src/core/assert.ts'
import { harness } from '../api/harness.ts'

export const ROOT = join(import.meta.dirname, '..', '..')

export function textOf(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8')
}

/** Merge keys (`<<`) resolved. */
export function yamlOf(path: string): unknown {
  return parse(textOf(path), { merge: true })
}

/** A stream of documents, such as a manifest. */
export function documentsOf(path: string): unknown[] {
  return parseAllDocuments(textOf(path), { merge: true }).map((document) => {
    must(document.errors.length === 0 || undefined, `${path} is YAML`)
    return document.toJS()
  })
}

interface Instruction {
  readonly name: string
  readonly rest: string
}

/** The instructions of the Dockerfile, each on one line. */
export function instructionsOf(dockerfile: string): Instruction[] {
  const lines = dockerfile
    .replaceAll(/^#.*\n/gm, '')
    .replaceAll(/\\\n\s*/g, '')
    .split('\n')
  return lines.filter((line) => line !== '').map((line) => ({ name: line.split(' ', 1)[0] ?? '', rest: line.slice(line.indexOf(' ') + 1) }))
}

/** What an image sets in the environment. */
export function imageEnvironment(): { [name: string]: string } {
  const set = instructionsOf(textOf('Dockerfile')).filter(({ name }) => name === 'ENV')
  return Object.fromEntries(set.flatMap(({ rest }) => rest.split(' ').map((pair) => pair.split('=', 2) as [string, string])))
}

/** True where the server answers a GET. */
export async function isRoute(path: string): Promise<boolean> {
  const { app } = harness()
  await app.ready()
  const has = app.hasRoute({ method: 'GET', url: path })
  await app.close()
  return has
}
