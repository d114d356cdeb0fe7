// A member of the group as a process of its own: prints one JSON line for each thing that it is told. Ends when its input does.
//   node member.ts BROKERS PREFIX PARTITIONS SESSION_MS
import { systemClock } from '../../src/core/clock.ts'
import { KafkaMembership } from '../../src/log/kafka-membership.ts'

const [brokers = '', prefix = '', partitions = '', sessionMs = ''] = process.argv.slice(2)
const say =
  (what: string) =>
  (detail: unknown): void =>
    console.log(JSON.stringify({ what, detail }))

const membership = new KafkaMembership({
  settings: { brokers: [brokers], prefix },
  clock: systemClock,
  partitions: Number(partitions),
  sessionMs: Number(sessionMs),
  listener: { assigned: say('assigned'), revoked: say('revoked'), lost: say('lost'), failed: (error) => say('failed')(error.message) },
})
await membership.open()
process.stdin.on('end', () => void membership.close()).resume()
