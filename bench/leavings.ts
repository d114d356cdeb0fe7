// What a benchmark would leave behind: processes and directories. Undone once, the newest first, when it ends or is told to.

const SIGNALS = { SIGINT: 130, SIGTERM: 143 } as const

export class Leavings {
  readonly #undo: (() => unknown)[] = []
  #ended: Promise<void> | undefined

  /** `undo` is called even if what it undoes is only half done. */
  add(undo: () => unknown): void {
    this.#undo.push(undo)
  }

  /** However often it is called. */
  end(): Promise<void> {
    this.#ended ??= this.#undoAll()
    return this.#ended
  }

  async #undoAll(): Promise<void> {
    const failures: unknown[] = []
    for (let undo = this.#undo.pop(); undo; undo = this.#undo.pop()) {
      try {
        await undo()
      } catch (error) {
        failures.push(error)
      }
    }
    if (failures.length > 0) throw new AggregateError(failures, 'something was left behind')
  }
}

/** Runs something with leavings; a signal ends them, and the process, with the code that shells know. */
export async function tidily(run: (leavings: Leavings) => Promise<void>): Promise<void> {
  const leavings = new Leavings()
  let code: number | undefined
  const told = (signal: keyof typeof SIGNALS): void => {
    code ??= SIGNALS[signal]
    process.stderr.write(`${signal}: stopping what was started\n`)
    leavings.end().finally(() => process.exit(code))
  }
  for (const signal of Object.keys(SIGNALS) as (keyof typeof SIGNALS)[]) process.on(signal, told)
  try {
    await run(leavings)
  } catch (error) {
    // What was stopped under its feet has failed, of course.
    if (code === undefined) throw error
  } finally {
    await leavings.end()
    for (const signal of Object.keys(SIGNALS) as (keyof typeof SIGNALS)[]) process.off(signal, told)
  }
}
