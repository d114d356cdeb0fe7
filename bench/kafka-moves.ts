// Processes that are killed, leave and join: how long partitions stand still meanwhile (kafka-pulse.ts), and what a new process reads
// from Kafka. No other load is there, so this is the least that it can be.
import type { KafkaDeployment, ProcessOptions } from './kafka-deployment.ts'
import type { Bench } from './kafka-preload.ts'
import { Pulse } from './kafka-pulse.ts'
import { wallMs } from './latency.ts'
import { type Figures, machine, rounded, spreadOf } from './report.ts'

/** What joins or moves is let be for so long before the next thing happens. */
const REST_MS = 3000
const rest = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, REST_MS))

/** Does something to a deployment and tells how long its partitions stood still. */
async function pauses(deployment: KafkaDeployment, name: string, happens: () => Promise<unknown>): Promise<Figures> {
  const { partitions, sessionMs } = deployment.options
  const pulse = new Pulse(partitions, () => deployment.servers)
  try {
    await pulse.all()
    await rest()
    pulse.reset()
    const begun = wallMs()
    await happens()
    await pulse.all()
    const all = wallMs() - begun
    await rest()
    const longest = pulse.longestMs()
    return {
      name: `kafka ${name}`,
      longestPauseMs: Math.max(...longest),
      pauseMs: spreadOf(longest),
      untilAllAnswerMs: Math.round(all),
      sessionMs,
      load1: machine().load1,
    }
  } finally {
    await pulse.stop()
  }
}

/** A single process is killed and starts again at once: with its files, then without. */
export async function* restarts({ broker, deployment }: Bench): AsyncGenerator<Figures> {
  const again = async (): Promise<void> => {
    await deployment.kill('first')
    await deployment.begin({ name: 'first' })
  }
  yield await pauses(deployment, 'restart after kill -9, with its files', again)
  const before = (await deployment.server('first').figures())('tributary_profiles')
  let restoredMs = 0
  const afresh = async (): Promise<void> => {
    await deployment.kill('first')
    deployment.forget('first')
    const begun = wallMs()
    const server = await deployment.begin({ name: 'first' })
    await server.ready()
    while ((await server.figures())('tributary_profiles') < before) await new Promise((resolve) => setTimeout(resolve, 20))
    restoredMs = wallMs() - begun
  }
  const figures = await pauses(deployment, 'restart after kill -9, without files', afresh)
  const rows = (await deployment.server('first').figures())('tributary_restored_rows_total')
  const { journal = 0 } = broker.topicBytes(deployment.options.prefix)
  yield {
    ...figures,
    restoredMs: Math.round(restoredMs),
    profiles: before,
    profilesPerSecond: Math.round((before / restoredMs) * 1000),
    rows,
    rowsPerSecond: Math.round((rows / restoredMs) * 1000),
    journalMB: rounded(journal / 2 ** 20),
    journalMBPerSecond: rounded((journal / 2 ** 20 / restoredMs) * 1000),
  }
}

/** Two processes. The first runs alone at the beginning and at the end. */
export async function* moves({ deployment }: Bench): AsyncGenerator<Figures> {
  const join = (options: ProcessOptions) => (): Promise<unknown> => deployment.begin(options)
  yield await pauses(deployment, 'join of a second process', join({ name: 'second' }))
  // What the second has, the first had: it lies in its files, as of the move.
  yield await pauses(deployment, 'kill -9, taken over with files', () => deployment.kill('second'))
  deployment.forget('second')
  await deployment.begin({ name: 'second' })
  await rest()
  yield await pauses(deployment, 'kill -9, taken over without files', () => deployment.kill('first'))
  deployment.forget('first')
  await deployment.begin({ name: 'first', isStandby: true })
  await rest()
  yield await pauses(deployment, 'kill -9, taken over by a standby', () => deployment.kill('second'))
  await deployment.begin({ name: 'second' })
  yield await pauses(deployment, 'rolling restart of both', async () => {
    for (const name of ['first', 'second']) {
      await deployment.end(name)
      await deployment.begin({ name })
      await rest()
    }
  })
}
