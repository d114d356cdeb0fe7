// Random bodies: intake never fails, never answers 5xx, and good members of a batch are always taken.
// TRIBUTARY_FUZZ_CASES sets the number of cases; a failure prints its seed, which `{ seed, path }` replays.
import fc from 'fast-check'
import { afterAll, expect, test } from 'vitest'
import { Writer } from '../../src/core/bytes.ts'
import { decodeEvent, encodeEvent, messageOf } from '../../src/core/event.ts'
import { bytes, contentEncoding, contentType, messageLike, odd, PATHS } from './bodies-arbitrary.ts'
import { harness } from './harness.ts'

const numRuns = Number(process.env.TRIBUTARY_FUZZ_CASES ?? 300)
const { app, engine } = harness()
afterAll(() => app.close())

/** How many messages were taken. */
async function takenOfAnyBytes(parameters: { numRuns: number; seed?: number }): Promise<number> {
  let taken = 0
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...PATHS), bytes, contentType, contentEncoding, async (url, payload, type, encoding) => {
      engine.events.length = 0
      engine.rejected.length = 0
      const headers = { 'content-type': type, ...(encoding === undefined ? {} : { 'content-encoding': encoding }) }
      const reply = await app.inject({ method: 'POST', url, payload, headers })
      expect([200, 400, 413]).toContain(reply.statusCode)
      const answer = reply.json()
      if (reply.statusCode === 200) expect(answer).toMatchObject({ success: true, position: expect.any(String) })
      else expect(engine.rejected.length).toBe(1)
      expect((answer.rejected ?? []).length).toBe(reply.statusCode === 200 ? engine.rejected.length : 0)
      for (const event of engine.events) {
        const w = new Writer()
        encodeEvent(event, w)
        const back = decodeEvent(w.take())
        expect(back.identifiers.length).toBeGreaterThan(0)
        expect(messageOf(back)).toMatchObject({ type: event.type, messageId: back.messageId, receivedAt: expect.any(String) })
      }
      expect(Object.keys(Object.prototype)).toEqual([])
      taken += engine.events.length
    }),
    parameters,
  )
  return taken
}

test('any bytes are answered, and every message is either taken or set aside', async () => {
  await takenOfAnyBytes({ numRuns })
})

test('bodies of any bytes get beyond the first check', async () => {
  // How many do is luck, and so a matter of the seed.
  expect(await takenOfAnyBytes({ numRuns: 300, seed: 1 })).toBeGreaterThan(30)
})

test('good members are always taken, whatever stands beside them', async () => {
  let n = 0
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.oneof({ weight: 1, arbitrary: fc.constant('good') }, { weight: 2, arbitrary: fc.oneof(messageLike, odd) }), {
        maxLength: 12,
      }),
      async (members) => {
        engine.events.length = 0
        const good: string[] = []
        const batch = members.map((member) => {
          if (member !== 'good') return member
          good.push(`good-${n++}`)
          return { type: 'track', event: 'Good', userId: 'good', messageId: good.at(-1) }
        })
        const reply = await app.inject({ method: 'POST', url: '/v1/batch', payload: JSON.stringify({ batch }) })
        expect(reply.statusCode).toBe(200)
        const taken = engine.events.map((e) => e.messageId).filter((id) => id.startsWith('good-'))
        expect(taken).toEqual(good)
      },
    ),
    { numRuns },
  )
})
