// What the main thread makes of what hosts say.
import { expect, test } from 'vitest'
import { TributaryError } from '../../src/core/errors.ts'
import type { FromHost } from '../../src/engine/host.ts'
import { Links } from '../../src/engine/links.ts'
import type { EmbeddedPorts } from '../../src/engine/ports.ts'

const BLOCK: FromHost = { t: 'relay', partition: 0, stream: 'transitions', payload: Buffer.alloc(1), lastSeq: 1 }

/** What ends the process where outputs take a block like this. */
async function fatalOf(take: () => Promise<void>): Promise<Error[]> {
  const fatal: Error[] = []
  const ports: Pick<EmbeddedPorts, 'fatal' | 'startHosts'> & { outputs: { take: typeof take } } = {
    outputs: { take },
    fatal: (error) => void fatal.push(error),
    startHosts: async (_, receive) => {
      receive(BLOCK)
      return [{ partitions: [0], post: () => undefined }]
    },
  }
  await new Links(ports as unknown as EmbeddedPorts).open([])
  await new Promise(setImmediate)
  return fatal
}

test('outputs that close while a block is under way end nothing: it is said again after the next start', async () => {
  expect(await fatalOf(() => Promise.reject(new TributaryError('shutting_down', 'the outputs are closed')))).toEqual([])
})

test('outputs that fail end the process', async () => {
  const error = new Error('boom')
  expect(await fatalOf(() => Promise.reject(error))).toEqual([error])
})
