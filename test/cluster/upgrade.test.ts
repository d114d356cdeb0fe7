// Two processes that don't understand one another, as old and new ones during a rolling upgrade: what the one would have to ask the other is
// refused for now, everything else goes on, and once they have the same version all is well.
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { buffer } from 'node:stream/consumers'
import { afterEach, expect, test } from 'vitest'
import { type Cluster, cluster } from './world.ts'

const OTHER_VERSION = 200

let opened: Cluster | undefined
let between: Server | undefined

afterEach(async () => {
  between?.closeAllConnections()
  between?.close()
  await opened?.close()
})

/** What is asked of `address` goes by way of here, and may arrive in another version. */
async function way(address: string, isOther: () => boolean): Promise<string> {
  const server = createServer(async (request, response) => {
    const body = await buffer(request)
    if (isOther()) body[0] = OTHER_VERSION
    const { authorization = '', 'content-type': type = '' } = request.headers
    const reply = await fetch(address + (request.url ?? ''), { method: 'POST', headers: { authorization, 'content-type': type }, body })
    response.writeHead(reply.status, { 'content-type': reply.headers.get('content-type') ?? '' })
    response.end(Buffer.from(await reply.arrayBuffer()))
  })
  between = server
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const bound = server.address()
  if (bound === null || typeof bound === 'string') throw new Error('it listens on a port')
  return `http://127.0.0.1:${bound.port}`
}

test('what another version is asked for is refused with Retry-After, until it is no other any more', async () => {
  const world = await cluster({ processes: 2, overHttp: true, readTimeoutMs: 3000 })
  opened = world
  const [a, b] = world.processes
  if (!a || !b) throw new Error('there are two')
  for (let k = 0; k < 10; k++) await world.send(a, { type: 'track', event: 'Order', userId: `u${k}`, messageId: `m${k}` })
  await a.engine.settle()
  let isOther = true
  const address = await way(b.address, () => isOther)
  a.directory.tell(a.name, [
    { name: a.name, address: a.address, partitions: [0, 2] },
    { name: b.name, address, partitions: [1, 3] },
  ])
  const read = (k: number): Promise<Response> => fetch(`${a.address}/v1/profiles/user_id:u${k}`)
  const replies = await Promise.all(Array.from({ length: 10 }, (_, k) => read(k)))
  const refused = replies.filter(({ status }) => status !== 200)
  expect(refused.length).toBeGreaterThan(0)
  expect(refused.length).toBeLessThan(replies.length)
  for (const reply of refused) {
    expect([reply.status, Number(reply.headers.get('retry-after'))]).toEqual([503, 1])
    expect(await reply.json()).toMatchObject({ code: 'partition_moving' })
  }
  const taken = await fetch(`${a.address}/v1/track`, {
    method: 'POST',
    body: JSON.stringify({ event: 'Order', userId: 'u1', writeKey: 'w' }),
  })
  expect(await taken.json()).toMatchObject({ success: true })
  isOther = false
  expect((await Promise.all(replies.map((_, k) => read(k)))).map(({ status }) => status)).toEqual(replies.map(() => 200))
})
