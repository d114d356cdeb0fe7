// An engine that can't be opened leaves no file open, in whichever thread it was.
import { mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openBench } from '../../bench/engine.ts'
import { must } from '../../src/core/assert.ts'

const SHAPE = { n: 0, users: 0, segments: 0, cover: false, partitions: 2, hosts: 1, store: 'rocksdb', durability: 'fsync' } as const
const dir = mkdtempSync(join(tmpdir(), 'tributary-failed-open-'))

beforeAll(async () => {
  await (await openBench(dir, SHAPE)).close()
})
afterAll(() => rmSync(dir, { recursive: true, force: true }))

/** Descriptors of this process that lie in the data directory. */
function openFiles(): string[] {
  const paths = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`)
    } catch {
      // The one that listed them.
      return ''
    }
  })
  return paths.filter((path) => path.startsWith(dir))
}

test.each(['journal/0', 'definitions', 'transitions', 'events'])('when its %s can not be read', async (log) => {
  const name = must(
    readdirSync(join(dir, log)).find((file) => file.endsWith('.log')),
    'a log has a file',
  )
  const path = join(dir, log, name)
  writeFileSync(path, 'this is no segment')
  await expect(openBench(dir, SHAPE)).rejects.toMatchObject({ code: 'data_corrupt' })
  expect(openFiles()).toEqual([])
})
