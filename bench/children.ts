// A benchmark's other processes: each gets one message and answers with one.
import { fork } from 'node:child_process'
import { join } from 'node:path'

export function inProcess<Task extends object, Result>(script: string, task: Task): Promise<Result> {
  return new Promise((resolve, reject) => {
    const child = fork(join(import.meta.dirname, script), { execArgv: [] })
    let result: Result | undefined
    child.on('message', (message) => {
      result = message as Result
    })
    child.on('error', reject)
    child.on('exit', (code) =>
      result === undefined ? reject(new Error(`${script} ended with ${code}, without a result`)) : resolve(result),
    )
    child.send(task)
  })
}

/** The other side of it: does what it is told, answers, and ends. */
export function answerParent<Task, Result>(run: (task: Task) => Promise<Result>): void {
  // Whoever wanted the result may be gone.
  process.once('disconnect', () => process.exit())
  process.once('message', (task: Task) => {
    run(task).then((result) => process.send?.(result, undefined, undefined, () => process.exit()))
  })
}
