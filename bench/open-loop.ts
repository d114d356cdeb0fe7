// The load of the end-to-end benchmark, a process of its own: sends ready requests on a fixed schedule, come what may, and listens
// to the transitions that they set off. A latency runs from the scheduled instant of the sending, so a stall counts in full.
//
// It is told what to do by one message, and answers with one.
import { closeSync, openSync, readSync } from 'node:fs'
import { connect } from 'node:net'
import { must } from '../src/core/assert.ts'
import { answerParent } from './children.ts'
import { Latencies, onSchedule, type Percentiles, wallMs } from './latency.ts'
import { type Schedule, type TransitionFigures, TransitionLatencies } from './transition-latencies.ts'
import { Wire } from './wire.ts'

export interface Load extends Schedule {
  readonly port: number
  /** Ready requests, one after the other, and their lengths. */
  readonly file: string
  readonly lengths: readonly number[]
  readonly connections: number
  /** How long after the last request to go on listening. */
  readonly listenMs: number
}

export interface LoadResult extends TransitionFigures {
  readonly requests: number
  /** Requests answered otherwise than 200. */
  readonly failed: number
  readonly firstFailure?: number
  /** From the schedule to the reply: the events are durable. */
  readonly acknowledged: Percentiles
  /** How late requests were sent by our own fault. */
  readonly behind: Percentiles
  readonly cpuUs: number
}

/** Messages of the stream as they come; several, or parts of one, in a chunk. */
export function eventReader(take: (data: string) => void): (chunk: Buffer) => void {
  let rest = ''
  return (chunk) => {
    const text = rest + chunk.utf8Slice(0, chunk.length)
    let from = 0
    for (;;) {
      const begin = text.indexOf('data: ', from)
      if (begin < 0) break
      const end = text.indexOf('\n', begin)
      if (end < 0) break
      take(text.slice(begin + 6, end))
      from = end
    }
    rest = text.slice(from)
  }
}

export function listen(port: number, onChunk: (chunk: Buffer) => void): Promise<() => void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1' }, () => {
      socket.write('GET /v1/transitions HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n')
    })
    let ended = false
    socket.once('data', () => {
      socket.on('data', onChunk)
      resolve(() => {
        ended = true
        socket.destroy()
      })
    })
    socket.once('error', reject)
    socket.once('close', () => {
      if (!ended) throw new Error('the server ended the stream of transitions')
    })
  })
}

async function run(load: Load): Promise<LoadResult> {
  const { port, lengths, warmTicks } = load
  const seen = new TransitionLatencies(load)
  const stopListening = await listen(
    port,
    eventReader((data) => seen.take(data)),
  )
  const wire = new Wire(port, load.connections)
  const file = openSync(load.file, 'r')
  const [acknowledged, behind] = [new Latencies(), new Latencies()]
  let [failed, firstFailure, answered] = [0, 0, 0]
  let cpu = process.cpuUsage()
  let allAnswered = (): void => {}
  const answers = new Promise<void>((resolve) => {
    allAnswered = resolve
  })
  await onSchedule(load.startMs, load.everyMs, lengths.length, (k, dueMs) => {
    if (k === warmTicks) cpu = process.cpuUsage()
    if (k >= warmTicks) behind.add(wallMs() - dueMs)
    const request = Buffer.allocUnsafe(must(lengths[k], 'a request of the file'))
    readSync(file, request)
    wire.send(request, (status) => {
      if (status !== 200) {
        failed++
        firstFailure ||= status
      } else if (k >= warmTicks) acknowledged.add(wallMs() - dueMs)
      if (++answered === lengths.length) allAnswered()
    })
  })
  const { user, system } = process.cpuUsage(cpu)
  await answers
  await new Promise((resolve) => setTimeout(resolve, load.listenMs))
  stopListening()
  wire.close()
  closeSync(file)
  return {
    requests: lengths.length,
    failed,
    ...(failed > 0 ? { firstFailure } : {}),
    acknowledged: acknowledged.percentiles(),
    ...seen.figures(),
    behind: behind.percentiles(),
    cpuUs: user + system,
  }
}

if (import.meta.main) answerParent(run)
