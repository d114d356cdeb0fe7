import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { MemoryStore } from '../../src/state/memory-store.ts'
import { type Binding, loadBinding, mustRunNxt, openStore } from '../../src/state/open-store.ts'

test('the second binding is taken when the first does not load', async () => {
  const tried: Binding[] = []
  const opened = new MemoryStore()
  const open = await loadBinding(['nxt', 'native'], async (binding) => {
    tried.push(binding)
    if (binding === 'nxt') throw new Error('No native build was found for arm64')
    return async () => opened
  })
  expect(tried).toEqual(['nxt', 'native'])
  expect(await open('', { writeBufferBytes: 1, cacheBytes: 1, backgroundThreads: 1 })).toBe(opened)
})

test('when none loads, the error says why and what to do', async () => {
  const failing = loadBinding(['nxt', 'native'], async (binding) => {
    throw new Error(binding === 'nxt' ? 'No native build was found' : 'libatomic.so.1: cannot open shared object file')
  })
  await expect(failing).rejects.toMatchObject({
    code: 'unsupported_platform',
    message: expect.stringContaining('libatomic1'),
    detail: 'nxt: No native build was found\nnative: libatomic.so.1: cannot open shared object file',
  })
})

test('a processor without the instructions that nxt is built for is not given nxt', () => {
  mustRunNxt('x64', 'flags : fpu avx avx2 bmi1 bmi2')
  mustRunNxt('arm64', 'Features : fp asimd')
  mustRunNxt('x64', undefined)
  expect(() => mustRunNxt('x64', 'flags : fpu avx bmi1 bmi2')).toThrow('avx2')
  expect(() => mustRunNxt('x64', 'flags : fpu avx2 bmi1')).toThrow('bmi2')
})

test('rocksdb opens one of the bindings here, and what it writes is still there afterwards', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'tributary-open-'))
  for (let round = 0; round < 2; round++) {
    const store = await openStore('rocksdb', join(dir, 'deep', 'db'))
    expect(await store.getMany(['a'])).toEqual([round === 0 ? undefined : Buffer.from('1')])
    await store.write({ puts: [['a', Buffer.from('1')]] })
    await store.close()
  }
  await rm(dir, { recursive: true, force: true })
})
