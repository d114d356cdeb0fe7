// A cluster that is never at rest: whoever waits for one write does not wait for all others.
import { afterEach, expect, test } from 'vitest'
import { must } from '../../src/core/assert.ts'
import { turns } from '../engine/disk.ts'
import { type Cluster, type ClusterProcess, cluster } from './world.ts'

let opened: Cluster | undefined

afterEach(async () => {
  await opened?.close()
  opened = undefined
})

/** Links between partitions without end: messages are always under way. */
async function traffic(world: Cluster, by: ClusterProcess, isDone: () => boolean): Promise<void> {
  for (let k = 0; !isDone(); k++) {
    await world.send(by, { type: 'identify', userId: `busy ${k}`, anonymousId: `anonymous ${k}`, messageId: `busy ${k}` })
    await turns(1)
  }
}

test('a read with a position comes back while messages between partitions go on and on', async () => {
  opened = await cluster({ processes: 3, partitions: 8, peerTurns: 10 })
  const world = opened
  const [a, b, c] = world.processes.map((process) => must(process, 'there are three'))
  let isDone = false
  const busy = Promise.all([...world.processes, ...world.processes].map((by) => traffic(world, by, () => isDone)))
  try {
    for (let k = 0; k < 10; k++) {
      const { position } = await world.send(must(a, 'a'), { type: 'identify', userId: `u${k}`, anonymousId: `a${k}`, traits: { k } })
      const view = await must(b, 'b').engine.profile({ namespace: 'anonymous_id', value: `a${k}` }, { minPosition: position })
      expect(view?.traits).toEqual({ k })
    }
    await must(c, 'c').engine.settle()
  } finally {
    isDone = true
    await busy
  }
})
