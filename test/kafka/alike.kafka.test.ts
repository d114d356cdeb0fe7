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

test('a process with other namespaces does not start; one with another limit does, and says so', { timeout: 120_000 }, async () => {
  const prefix = `test-${randomUUID()}`
  const start = (name: string, identity: object): ServerProcess => {
    const file = join(root, `${name}.yaml`)
    writeFileSync(file, JSON.stringify({ partitions: 2, kafka: { brokers: [inject('kafka')], prefix }, identity }))
    return new ServerProcess(join(root, name), ['--config', file])
  }
  const first = await start('a', { namespaces: [{ name: 'user_id' }, { name: 'email' }] }).listening()
  const other = start('b', { namespaces: [{ name: 'email' }, { name: 'user_id' }] })
  expect(await other.exited).toEqual({ code: 1, signal: null })
  expect(other.err).toMatch(/^deployment_mismatch: .*namespaces: is "user_id email" there, "email user_id" here/)
  const changed = await start('c', { namespaces: [{ name: 'user_id' }, { name: 'email', limit: 7 }] }).listening()
  expect(changed.err).toContain('settings have changed: identity.namespaces: is ')
  for (const server of [first, changed]) await server.end('SIGTERM')
})
