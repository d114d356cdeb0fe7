// What the main thread's side of the engine works with: logs, hosts, the machine. Owns nothing; open.ts makes them.
import type { Clock } from '../core/clock.ts'
import type { Namespaces } from '../core/namespace.ts'
import type { SharedLog } from '../log/claimed.ts'
import type { TaskLimits } from './config.ts'
import type { DefinitionChange } from './definitions.ts'
import type { Cluster } from './directory.ts'
import type { EventsPort } from './events-port.ts'
import type { FromHost, ToHost } from './host.ts'
import type { OutputPort } from './outputs-port.ts'
import type { Restore } from './restoring.ts'
import type { Shared } from './shared.ts'

/** One host as the main thread sees it. */
export interface HostLink {
  /** Those that it runs when they are in this process. */
  readonly partitions: readonly number[]
  post(message: ToHost): void
}

export interface EmbeddedPorts {
  readonly limits: TaskLimits
  readonly clock: Clock
  readonly namespaces: Namespaces
  readonly shared: Shared
  readonly events: EventsPort
  readonly definitions: SharedLog
  readonly outputs: OutputPort
  /** Absent: this process runs all partitions, always. */
  readonly cluster?: Cluster
  /** How often the outputs are marked (outputs.ts 4). Absent: at the start only. */
  readonly markEveryMs?: number
  /** Starts the hosts with the definitions known so far; they report through `receive`. */
  startHosts(definitions: readonly DefinitionChange[], receive: (message: FromHost) => void): Promise<HostLink[]>
  /** Bytes free on the disk under the data, or Infinity. */
  freeBytes(): number
  readonly minFreeBytes: number
  readonly maxLagEvents: number
  readonly readTimeoutMs: number
  /** The wall clock, which stops when the machine's steps ahead too far. */
  readonly guard?: { readonly isStopped: boolean; confirm(): void }
  /** Journals that are being read before their partitions run here. */
  restores?(): readonly Restore[]
  /** A partition has stopped; the others go on. */
  stopped(partition: number, reason: string): void
  /** A log failed or a host died: the process can't go on. */
  fatal(error: Error): void
  closed(): Promise<void>
}
