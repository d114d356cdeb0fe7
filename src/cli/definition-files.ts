// Segment definitions in a directory: *.json, *.yaml, *.yml, each one definition; a file's name is the id it doesn't give.
import { readdir, readFile } from 'node:fs/promises'
import { extname, join, parse } from 'node:path'
import { parse as parseYaml } from 'yaml'
import { TributaryError } from '../core/errors.ts'
import type { SegmentDefinition } from '../operators/definition.ts'
import { parseSegment } from '../operators/parse.ts'
import { CommandError } from './failure.ts'

const EXTENSIONS = new Set(['.json', '.yaml', '.yml'])

/** All definitions of a directory by id. Everything that is wrong is told at once. */
export async function readDefinitions(dir: string): Promise<SegmentDefinition[]> {
  const names = (await readdir(dir)).filter((name) => EXTENSIONS.has(extname(name))).sort()
  if (names.length === 0)
    throw new CommandError('usage', `${dir} holds no *.json or *.yaml file.`, 'Name the directory that holds your definitions.')
  const problems: string[] = []
  const byId = new Map<string, { readonly file: string; readonly definition: SegmentDefinition }>()
  for (const name of names) {
    try {
      const definition = await readDefinition(join(dir, name))
      const twin = byId.get(definition.id)
      if (twin) problems.push(`${name}: the id ${definition.id} is that of ${twin.file}`)
      else byId.set(definition.id, { file: name, definition })
    } catch (error) {
      if (!(error instanceof TributaryError)) throw error
      problems.push(`${name}: ${error.message}`)
    }
  }
  if (problems.length > 0) {
    const message = problems.length === 1 ? 'One definition is not valid.' : `${problems.length} definitions are not valid.`
    throw new CommandError(
      'invalid_definition',
      message,
      'Nothing was applied. Mend the files; docs/segments.md has the grammar.',
      problems.join('\n  '),
    )
  }
  return [...byId.values()].map((d) => d.definition).sort((a, b) => (a.id < b.id ? -1 : 1))
}

async function readDefinition(path: string): Promise<SegmentDefinition> {
  const { id, name, where } = parseSegment(parsed(await readFile(path, 'utf8'), path))
  return { id: id ?? parse(path).name, ...(name === undefined ? {} : { name }), where }
}

function parsed(text: string, path: string): unknown {
  try {
    return path.endsWith('.json') ? JSON.parse(text) : parseYaml(text)
  } catch (error) {
    throw new TributaryError('invalid_definition', error instanceof Error ? (error.message.split('\n')[0] ?? '') : 'it cannot be read')
  }
}
