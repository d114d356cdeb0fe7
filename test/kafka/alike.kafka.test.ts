// Processes with other settings than those of the deployment, on a real broker.
import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, inject, test } from 'vitest'
import { ServerProcess } from '../process/server.ts'

let root: string
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'tributary-alike-'))
})
afterEach(() => rmSync(root, { recursive: true, force: true }))

test('a process with other namespaces does not start; one with another limit or format of profiles does, and says so', {
  timeout: 120_000,
}, async () => {
  const prefix = `test-${randomUUID()}`
  const start = (name: string, identity: object, profiles: unknown): ServerProcess => {
    const file = join(root, `${name}.yaml`)
    const kafka = { brokers: [inject('kafka')], prefix, outputs: { profiles } }
    writeFileSync(file, JSON.stringify({ partitions: 2, kafka, identity }))
    return new ServerProcess(join(root, name), ['--config', file])
  }
  const first = await start('a', { namespaces: [{ name: 'user_id' }, { name: 'email' }] }, true).listening()
  const other = start('b', { namespaces: [{ name: 'email' }, { name: 'user_id' }] }, true)
  expect(await other.exited).toEqual({ code: 1, signal: null })
  expect(other.err).toMatch(/^deployment_mismatch: .*namespaces: is "user_id email" there, "email user_id" here/)
  const changed = await start('c', { namespaces: [{ name: 'user_id' }, { name: 'email', limit: 7 }] }, 'json').listening()
  expect(changed.err).toContain('settings have changed: identity.namespaces: is ')
  // Which is what true has always meant.
  expect(changed.err).not.toContain('kafka.outputs.profiles')
  const inAvro = await start('d', { namespaces: [{ name: 'user_id' }, { name: 'email', limit: 7 }] }, 'avro').listening()
  expect(inAvro.err).toContain('settings have changed: kafka.outputs.profiles: is true there, \\"avro\\" here')
  for (const server of [first, changed, inAvro]) await server.end('SIGTERM')
})
