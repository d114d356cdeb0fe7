import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { checkFingerprint, openMarker } from '../../src/state/fingerprint.ts'

let dir: string
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'tributary-fingerprint-'))
})
afterEach(() => rm(dir, { recursive: true, force: true }))

describe('fingerprint', () => {
  test('the first opening writes it, the same one passes in any order, also into a new directory', async () => {
    const inner = join(dir, 'new', 'data')
    await checkFingerprint(inner, { format: 1, partitions: 16, namespaces: 'user_id,email' })
    await checkFingerprint(inner, { namespaces: 'user_id,email', partitions: 16, format: 1 })
  })

  test('a mismatch names every key that differs, with both values', async () => {
    await checkFingerprint(dir, { format: 1, partitions: 16, namespaces: 'user_id', gone: true })
    await expect(checkFingerprint(dir, { format: 1, partitions: 8, namespaces: 'email', added: 'x' })).rejects.toMatchObject({
      code: 'fingerprint_mismatch',
      message: expect.stringMatching(
        /added: was not set, is "x"; gone: was true, is not set; namespaces: was "user_id", is "email"; partitions: was 16, is 8$/,
      ),
    })
    await checkFingerprint(dir, { format: 1, partitions: 16, namespaces: 'user_id', gone: true })
  })

  test('one that cannot be read is corrupt, not absent', async () => {
    await writeFile(join(dir, 'fingerprint.json'), '{"format":')
    await expect(checkFingerprint(dir, { format: 1 })).rejects.toMatchObject({ code: 'data_corrupt' })
  })
})

describe('open marker', () => {
  const boot = (id: string) => async () => id

  test('without fsync and not closed: trusted under the same boot id only', async () => {
    await openMarker(dir, 'none', boot('first'))
    await expect(openMarker(dir, 'none', boot('second'))).rejects.toMatchObject({ code: 'unclean_without_fsync' })
    await expect(openMarker(dir, 'fsync', boot('second'))).rejects.toMatchObject({ code: 'unclean_without_fsync' })
    await openMarker(dir, 'none', boot('first'))
  })

  test('without fsync, opened again under the same boot id with fsync: synced by then, so trusted from there on', async () => {
    await openMarker(dir, 'none', boot('first'))
    await openMarker(dir, 'fsync', boot('first'))
    await openMarker(dir, 'fsync', boot('second'))
  })

  test('closed cleanly, or written with fsync: trusted under any boot id', async () => {
    const marker = await openMarker(dir, 'none', boot('first'))
    await writeFile(join(dir, 'some-data'), 'x')
    await marker.close()
    await openMarker(dir, 'fsync', boot('second'))
    await openMarker(dir, 'none', boot('third'))
    await expect(openMarker(dir, 'none', boot('fourth'))).rejects.toMatchObject({ code: 'unclean_without_fsync' })
  })

  test('this machine has a boot id that stays', async () => {
    await openMarker(dir, 'none')
    await openMarker(dir, 'none')
  })
})
