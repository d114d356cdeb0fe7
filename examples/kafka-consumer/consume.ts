// Counts who is in each segment, each transition once.
//
//   node examples/kafka-consumer/consume.ts --brokers 127.0.0.1:19092 --topic tributary.transitions --state counts.json
import { parseArgs } from 'node:util'
import { read } from './reading.ts'

const { values } = parseArgs({
  options: {
    brokers: { type: 'string', default: '127.0.0.1:19092' },
    topic: { type: 'string', default: 'tributary.transitions' },
    state: { type: 'string', default: 'counts.json' },
    /** Ends once this many transitions were counted; 0: never. */
    until: { type: 'string', default: '0' },
  },
})
const until = Number(values.until)
const counts: Record<string, number> = {}
let counted = 0

await read({
  brokers: values.brokers,
  topic: values.topic,
  group: 'segment-counts',
  state: values.state,
  empty: { counts },
  take: ({ segment, transition }, results) => {
    results.counts[segment] = (results.counts[segment] ?? 0) + (transition === 'entered' ? 1 : -1)
    counted++
  },
  kept: (results) => {
    console.log(JSON.stringify(results.counts))
    return until > 0 && counted >= until
  },
})
