// The real file system with a record of its calls, a counter of bytes read per file, and failures on demand.
import { basename } from 'node:path'
import { type LogFile, type LogFiles, type OpenMode, systemFiles } from '../../src/log/files.ts'

export class TracedFiles implements LogFiles {
  /** `<call> <file name>`, in the order of completion. */
  readonly calls: string[] = []
  readonly bytesRead = new Map<string, number>()
  /** Calls that fail, once each. */
  readonly failing: string[] = []
  /** Writes do no more than this many bytes at a time. */
  maxWrite = Number.POSITIVE_INFINITY
  /** While set, datasync waits for it. */
  gate: Promise<void> | undefined
  /** How often datasync has come to a gate. */
  waiting = 0
  readonly #open = new Set<LogFile>()
  /** Names of open files: a file goes on under its new name. */
  readonly #names = new Map<LogFile, string>()

  /** Descriptors not yet closed. */
  get openCount(): number {
    return this.#open.size
  }

  /** Closes what a killed process has left open. */
  async closeAll(): Promise<void> {
    for (const file of this.#open) await file.close()
    this.#open.clear()
  }

  count(call: string): number {
    return this.calls.filter((c) => c.startsWith(call)).length
  }

  async #do<T>(call: string, name: string, run: () => Promise<T>): Promise<T> {
    const i = this.failing.indexOf(call)
    if (i >= 0) {
      this.failing.splice(i, 1)
      this.calls.push(`failed ${call} ${name}`)
      throw new Error(`injected: ${call} of ${name}`)
    }
    const result = await run()
    this.calls.push(`${call} ${name}`)
    return result
  }

  async open(path: string, mode: OpenMode): Promise<LogFile> {
    const file = await systemFiles.open(path, mode)
    this.#open.add(file)
    this.#names.set(file, basename(path))
    const nameNow = (): string => this.#names.get(file) ?? ''
    return {
      read: async (into, offset, length, position) => {
        const read = await file.read(into, offset, length, position)
        this.bytesRead.set(nameNow(), (this.bytesRead.get(nameNow()) ?? 0) + read)
        return read
      },
      write: (from, offset, length, position) =>
        this.#do('write', nameNow(), () => file.write(from, offset, Math.min(length, this.maxWrite), position)),
      datasync: () =>
        this.#do('datasync', nameNow(), async () => {
          if (this.gate) this.waiting++
          await this.gate
          await file.datasync()
        }),
      sync: () => this.#do('sync', nameNow(), () => file.sync()),
      truncate: (bytes) => this.#do('truncate', nameNow(), () => file.truncate(bytes)),
      size: () => file.size(),
      close: () =>
        this.#do('close', nameNow(), () => {
          this.#open.delete(file)
          return file.close()
        }),
    }
  }

  list(directory: string): Promise<string[]> {
    return systemFiles.list(directory)
  }
  rename(from: string, to: string): Promise<void> {
    return this.#do('rename', basename(to), async () => {
      await systemFiles.rename(from, to)
      for (const [file, name] of this.#names) if (name === basename(from)) this.#names.set(file, basename(to))
    })
  }
  remove(path: string): Promise<void> {
    return this.#do('remove', basename(path), () => systemFiles.remove(path))
  }
  makeDirectory(directory: string): Promise<void> {
    return systemFiles.makeDirectory(directory)
  }
  syncDirectory(directory: string): Promise<void> {
    return this.#do('syncDirectory', '.', () => systemFiles.syncDirectory(directory))
  }
}
