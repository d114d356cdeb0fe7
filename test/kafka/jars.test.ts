// What the local broker is made of: jars that are whole and unchanged, or not there, and the name of its cluster.
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { clusterId } from '../../scripts/kafka-broker.ts'
import { ensureJars, KAFKA_JARS } from '../../scripts/kafka-jars.ts'

const FILES: Readonly<Record<string, string>> = { 'a/b/1/b-1.jar': 'first', 'c/2/c-2.jar': 'second' }
const sumOf = (text: string): string => createHash('sha256').update(text).digest('hex')
const SUMS = Object.fromEntries(Object.entries(FILES).map(([path, text]) => [path, sumOf(text)]))

let root: string
let asked: string[]
const repository = createServer((request, reply) => {
  const path = (request.url ?? '').replace(/^\/maven\//, '')
  asked.push(path)
  const text = FILES[path]
  reply.statusCode = text === undefined ? 404 : 200
  reply.end(text)
})

beforeEach(async () => {
  asked = []
  root = await mkdtemp(join(tmpdir(), 'jars-'))
  await new Promise<void>((resolve) => repository.listen(0, '127.0.0.1', resolve))
})
afterEach(async () => {
  await new Promise((resolve) => repository.close(resolve))
  await rm(root, { recursive: true })
})

const source = (jars: Readonly<Record<string, string>>) => ({
  jars,
  repository: `http://127.0.0.1:${(repository.address() as AddressInfo).port}/maven/`,
  hasMaven: false,
  say: () => undefined,
})

test('without Maven every jar comes from the repository, once', async () => {
  const libs = join(root, 'libs')
  await ensureJars(libs, source(SUMS))
  await ensureJars(libs, source(SUMS))
  expect(asked.sort()).toEqual(Object.keys(FILES).sort())
  expect((await readdir(libs)).sort()).toEqual(['b-1.jar', 'c-2.jar'])
  expect(await readFile(join(libs, 'c-2.jar'), 'utf8')).toBe('second')
})

test('a jar with another checksum is refused and nothing stays', async () => {
  const wrong = { ...SUMS, 'c/2/c-2.jar': sumOf('something else') }
  await expect(ensureJars(join(root, 'libs'), source(wrong))).rejects.toThrow('c-2.jar: SHA-256 is')
  expect(await readdir(root)).toEqual([])
})

test('a jar that the repository lacks is an error that names it', async () => {
  const more = { ...SUMS, 'd/3/d-3.jar': sumOf('third') }
  await expect(ensureJars(join(root, 'libs'), source(more))).rejects.toThrow('d/3/d-3.jar: the repository answered 404')
  expect(existsSync(join(root, 'libs'))).toBe(false)
})

test('without Maven and without a repository it says what to do', async () => {
  await expect(ensureJars(join(root, 'libs'), { ...source(SUMS), repository: undefined })).rejects.toThrow('MAVEN_REPOSITORY')
})

test('the list names each jar of the broker once, with a whole checksum', () => {
  const names = Object.keys(KAFKA_JARS).map((path) => path.split('/').at(-1))
  expect(new Set(names).size).toBe(names.length)
  expect(names).toContain('kafka_2.13-4.3.1.jar')
  expect(Object.values(KAFKA_JARS).every((sum) => /^[0-9a-f]{64}$/.test(sum))).toBe(true)
})

test('the name of a cluster has 22 characters and never looks like an option', () => {
  const names = Array.from({ length: 1000 }, clusterId)
  expect(names.filter((name) => !/^[A-Za-z0-9][A-Za-z0-9_-]{21}$/.test(name))).toEqual([])
})
