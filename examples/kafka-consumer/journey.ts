// Sets off a step of a journey for everybody who enters a segment: a POST to whatever carries it out, once for each entry.
//
//   node examples/kafka-consumer/journey.ts --segment lapsing --url http://127.0.0.1:9000/winback
//
// What comes twice from Kafka is dropped. A kill between the call and the writing of the file makes the call come again, with the same
// Idempotency-Key: the transition's id. So whoever carries the step out remembers the keys that he has had.
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { read } from './reading.ts'

const { values } = parseArgs({
  options: {
    brokers: { type: 'string', default: '127.0.0.1:19092' },
    topic: { type: 'string', default: 'tributary.transitions' },
    state: { type: 'string', default: 'journey.json' },
    segment: { type: 'string' },
    url: { type: 'string' },
  },
})
const { segment: wanted, url } = values
if (wanted === undefined || url === undefined) throw new Error('give --segment and --url')

const STEP_MS = 4000
const TRIES = 5

/** Again while it isn't accepted; then the whole batch comes again. */
async function step(body: object, key: string): Promise<void> {
  for (let tries = 1; ; tries++) {
    const reply = await fetch(url ?? '', {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'idempotency-key': key },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(STEP_MS),
    }).catch((error: Error) => error)
    if (reply instanceof Response && reply.ok) return
    if (tries === TRIES) throw reply instanceof Error ? reply : new Error(`${url} answers ${reply.status}`)
    await sleep(200 * tries)
  }
}

await read({
  brokers: values.brokers,
  topic: values.topic,
  group: `journey-${wanted}`,
  state: values.state,
  empty: { steps: 0 },
  take: async ({ id, segment, profile, userId, transition, at }, results) => {
    if (segment !== wanted || transition !== 'entered') return
    await step({ profile, userId, enteredAt: at }, id)
    results.steps++
  },
  kept: () => false,
})
