// Opens the engine that a configuration asks for: on files of this process, or on the topics of a cluster. Owns the choice.
import type { Config } from '../config.ts'
import { systemClock } from '../core/clock.ts'
import type { Alike, Settings } from '../engine/alike.ts'
import type { Engine } from '../engine/engine.ts'
import { beginDirectory, type DirectoryOptions } from '../engine/open.ts'
import type { KafkaOptions } from '../engine/open-kafka.ts'
import type { Format } from '../engine/outputs-avro.ts'
import { httpPeers } from '../engine/remote.ts'

/** What another process may take beyond the time for which it is to wait. */
const ASK_MS = 5000

/** JSON is told as true, as it was before there was another format: so an update alone is no change. */
const toldProfiles = (format: Format | false = false): Format | boolean => (format === 'json' ? true : format)

/** What a deployment is made with, and what all its processes should have (alike.ts). */
function alikeOf({ clock, dedupeWindow, identity, timelineRetention, timelineEvents, futureLimit, kafka }: Config, fixed: Settings): Alike {
  const limits = { limit: identity.limit, others: identity.others.limit }
  return {
    fixed: { ...fixed, clock, dedupeWindow },
    changing: {
      ...{ timelineRetention, timelineEvents, futureLimit, 'kafka.outputs.profiles': toldProfiles(kafka?.outputs.profiles) },
      'identity limits': JSON.stringify(limits),
      'identity.namespaces': JSON.stringify(identity.namespaces),
    },
  }
}

export interface OpeningEngine {
  readonly engine: Engine
  /** Until then it is not to be asked. Rejects with everything closed again. */
  readonly opened: Promise<unknown>
  /** The server listens at this address: other processes may ask it now. */
  listening(address: string): Promise<void>
}

export async function beginEngine(config: Config, options: DirectoryOptions & Pick<KafkaOptions, 'notice'>): Promise<OpeningEngine> {
  const { kafka } = config
  if (!kafka) return { ...(await beginDirectory(options)), listening: async () => undefined }
  // Loaded only where there is a cluster.
  const { openKafka } = await import('../engine/open-kafka.ts')
  const { engine, join } = await openKafka({
    ...options,
    limits: { ...options.limits, tellsProfiles: kafka.outputs.profiles !== false },
    kafka,
    alike: alikeOf(config, options.fixed),
    outputs: { formats: kafka.outputs, ...(kafka.outputs.registry ? { registry: kafka.outputs.registry } : {}) },
    replicas: kafka.replicas,
    sessionMs: kafka.sessionTimeoutMs,
    standby: kafka.standby,
    deleteEveryMs: kafka.deleteEveryMs,
    connect: httpPeers({ secret: kafka.secret ?? '', clock: systemClock, timeoutMs: config.positionWaitMs + ASK_MS }),
  })
  return { engine, opened: Promise.resolve(), listening: (address) => join(kafka.advertise ?? address) }
}
