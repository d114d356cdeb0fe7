// How late the machine itself is, while somebody else's promptness is measured on it: on a busy one everything waits for a processor and
// for the disk. What is promised within a second is held to a second and to what such waiting adds.
import { closeSync, fsyncSync, openSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pause } from './server.ts'

const STEP_MS = 20
/** What is measured waits for a processor, the disk and a processor again, in another process. */
const WAITS = 3

export class Lateness {
  #worstMs = 0
  #isOver = false
  readonly #file = join(tmpdir(), `tributary-lateness-${process.pid}`)
  readonly #done = this.#run()

  /** So much may have been added by the machine since this was begun. */
  get allowanceMs(): number {
    return WAITS * this.#worstMs
  }

  async end(): Promise<void> {
    this.#isOver = true
    await this.#done
  }

  async #run(): Promise<void> {
    const descriptor = openSync(this.#file, 'w')
    while (!this.#isOver) {
      const begunMs = performance.now()
      await pause(STEP_MS)
      writeSync(descriptor, 'x', 0)
      fsyncSync(descriptor)
      this.#worstMs = Math.max(this.#worstMs, performance.now() - begunMs - STEP_MS)
    }
    closeSync(descriptor)
    rmSync(this.#file)
  }
}
