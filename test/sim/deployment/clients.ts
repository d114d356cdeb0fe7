// The clients of a deployment: what they send, they send again until it is acknowledged, to whichever process works. Owns what is not
// acknowledged yet.

import { must } from '../../../src/core/assert.ts'
import { Writer } from '../../../src/core/bytes.ts'
import { type EventRecord, encodeEvent } from '../../../src/core/event.ts'
import { homeOf } from '../../../src/core/identifier.ts'
import { Pack } from '../../../src/engine/inputs.ts'
import { recordOf } from '../../oracle/events-arbitrary.ts'
import { type Message, sketchOf } from '../workload.ts'
import type { DeploymentProcess } from './process.ts'

export interface ClientsPorts {
  readonly partitions: number
  /** A process that takes requests, if there is one. */
  pick(): DeploymentProcess | undefined
  now(): number
  acknowledged(records: readonly EventRecord[]): void
}

export class Clients {
  readonly #ports: ClientsPorts
  #waiting: Message[] = []
  /** Sent and not answered, by process. */
  readonly #asked = new Map<DeploymentProcess, Set<Message>>()

  constructor(ports: ClientsPorts) {
    this.#ports = ports
  }

  get areServed(): boolean {
    return this.#waiting.length === 0 && [...this.#asked.values()].every((messages) => messages.size === 0)
  }

  send(message: Message): void {
    this.#waiting.push(message)
  }

  /** Sends what waits. */
  step(): void {
    if (this.#waiting.length === 0) return
    const process = this.#ports.pick()
    if (!process) return
    for (const message of this.#waiting.splice(0)) this.#ask(process, message)
  }

  /** Who waits for an answer of this process gets none. */
  hungUp(process: DeploymentProcess): void {
    this.#waiting.push(...(this.#asked.get(process) ?? []))
    this.#asked.delete(process)
  }

  #ask(process: DeploymentProcess, message: Message): void {
    const asked = this.#asked.get(process) ?? new Set()
    this.#asked.set(process, asked)
    asked.add(message)
    const event = recordOf(sketchOf(message), this.#ports.now())
    const w = new Writer(256)
    encodeEvent(event, w)
    const pack = new Pack()
    pack.add(w.view())
    const home = homeOf(must(event.identifiers[0], 'an event has an identifier').key, this.#ports.partitions)
    process.append(home, pack.take()).then(
      () => {
        if (asked.delete(message)) this.#ports.acknowledged([event])
      },
      () => {
        if (asked.delete(message)) this.#waiting.push(message)
      },
    )
  }
}
