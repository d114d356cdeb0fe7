// SIGTERM under load: requests under way are answered, the rest is turned away, nothing acknowledged is lost.
import { expect, test } from 'vitest'
import { below, seeded } from '../identity/random.ts'
import { settle } from './client.ts'
import { Load } from './load.ts'
import { BUSY_STORE } from './rounds.ts'
import { DataDirectory, pause, startServer } from './server.ts'
import { readWorld, sequenceFaults, timelineFaults } from './world.ts'

/** Messages acknowledged before each stop. */
const ENOUGH = 100
const seed = Number(process.env.TRIBUTARY_SEED ?? Math.floor(Math.random() * 1e6))

test('nothing is lost and the exit code is 0', async () => {
  console.log(`seed ${seed}`)
  const directory = new DataDirectory()
  const flags = ['--partitions', '4', '--hosts', '2', ...BUSY_STORE]
  let server = await startServer(directory.path, flags)
  const random = seeded(seed)
  const load = new Load({
    random,
    urlOf: () => server.url,
    connections: 8,
    people: 50,
    timestamp: (r) => Date.now() - Math.floor(r() * 1e6),
  })
  const acknowledged = (): string[] => [...load.fates].filter(([, fate]) => fate === 'acknowledged').map(([id]) => id)
  try {
    load.start()
    for (let round = 1; round <= 2; round++) {
      while (acknowledged().length < round * ENOUGH && load.faults.length === 0) await pause(5)
      await pause(below(random, 300))
      const exit = await server.end('SIGTERM')
      expect(exit).toEqual({ code: 0, signal: null })
      // Nothing that it says is an error.
      expect(server.err).toBe('')
      server = await startServer(directory.path, flags)
    }
    await load.stop()
    await settle(server.url)
    const world = await readWorld(server.url, load.identifiers)
    const counted = acknowledged()
    console.log(`${counted.length} messages acknowledged, ${load.turnedAway} requests turned away, ${load.unanswered} without an answer`)
    expect(load.faults).toEqual([])
    expect(timelineFaults(world, load.messages, counted)).toEqual([])
    expect(sequenceFaults(world)).toEqual([])
  } finally {
    await load.stop()
    await server.end('SIGKILL')
    directory.remove()
  }
})
