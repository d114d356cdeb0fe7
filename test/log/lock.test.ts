import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { lockDirectory, lockName } from '../../src/log/lock.ts'

describe('the lock of a directory', () => {
  let directory: string
  let child: ChildProcess | undefined

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'lock-'))
  })
  afterEach(async () => {
    child?.kill('SIGKILL')
    await rm(directory, { recursive: true })
  })

  /** A running process' lock file. */
  async function lockOfChild(): Promise<string> {
    child = spawn('sleep', ['60'])
    await new Promise((resolve) => child?.once('spawn', resolve))
    const name = await lockName(child.pid ?? 0)
    await writeFile(join(directory, name), '')
    return name
  }

  test('one holder at a time, in one process too', async () => {
    const lock = await lockDirectory(directory)
    expect(lock.lastExit).toBe('clean')
    await expect(lockDirectory(directory)).rejects.toMatchObject({ code: 'data_locked' })
    await lock.release()
    expect(await readdir(directory)).toEqual([])
    const again = await lockDirectory(directory)
    expect(again.lastExit).toBe('clean')
    await again.release()
  })

  test('of many at once exactly one gets it', async () => {
    const results = await Promise.allSettled(Array.from({ length: 10 }, () => lockDirectory(directory)))
    expect(results.filter((r) => r.status === 'fulfilled')).toHaveLength(1)
  })

  test('a running process keeps it; its lock is taken over once it was killed', async () => {
    const name = await lockOfChild()
    await expect(lockDirectory(directory)).rejects.toMatchObject({ code: 'data_locked' })
    expect(await readdir(directory)).toEqual([name])
    const ended = new Promise((resolve) => child?.once('exit', resolve))
    child?.kill('SIGKILL')
    await ended
    const lock = await lockDirectory(directory)
    expect(lock.lastExit).toBe('killed')
    expect(await readdir(directory)).toEqual([await lockName(process.pid)])
  })

  test('a pid that is in use again does not hold the old lock', async () => {
    const [, pid, , boot] = /^LOCK-(\d+)-(\d+)-(.*)$/.exec(await lockName(process.pid)) ?? []
    await writeFile(join(directory, `LOCK-${pid}-1-${boot}`), '')
    expect((await lockDirectory(directory)).lastExit).toBe('killed')
  })

  test('a lock of an earlier boot is stale, whatever runs now', async () => {
    const name = (await lockName(process.pid)).replace(/[0-9a-f-]{36}$/, '00000000-0000-0000-0000-000000000000')
    await writeFile(join(directory, name), '')
    expect((await lockDirectory(directory)).lastExit).toBe('rebooted')
  })
})
