// A file system in memory that loses power: what was not synced may be there afterwards or not, page by page, and of the
// directory's unsynced changes only the first few. One directory; files are named by their whole path.
import type { LogFile, LogFiles, OpenMode } from '../../src/log/files.ts'

const PAGE = 512

interface Inode {
  bytes: Buffer
  durable: Buffer
}

type Change = { name: string; inode: Inode | undefined }[]

export class PowerCut extends Error {}

export class PowerFiles implements LogFiles {
  #names = new Map<string, Inode>()
  #durableNames = new Map<string, Inode>()
  /** Directory changes not yet synced, in order; each happens whole or not at all. */
  #changes: Change[] = []
  #random: (below: number) => number
  /** Calls until the power goes. */
  callsLeft = Number.POSITIVE_INFINITY
  /** Plants the bug of a disk that only pretends to sync. */
  liesAboutSync = false

  constructor(random: (below: number) => number) {
    this.#random = random
  }

  /** Each call takes a moment; the power may go before it, and a write may be cut short by it. */
  async #call(): Promise<void> {
    await Promise.resolve()
    if (this.callsLeft-- <= 0) throw new PowerCut('no power')
  }

  #change(change: Change): void {
    for (const { name, inode } of change) {
      if (inode) this.#names.set(name, inode)
      else this.#names.delete(name)
    }
    this.#changes.push(change)
  }

  /** The disk as it is when the power is back. */
  restart(): void {
    this.callsLeft = Number.POSITIVE_INFINITY
    const survive = this.#random(this.#changes.length + 1)
    for (const change of this.#changes.slice(0, survive)) {
      for (const { name, inode } of change) {
        if (inode) this.#durableNames.set(name, inode)
        else this.#durableNames.delete(name)
      }
    }
    this.#changes = []
    this.#names = new Map(this.#durableNames)
    for (const inode of new Set(this.#names.values())) {
      inode.bytes = this.#torn(inode)
      inode.durable = Buffer.from(inode.bytes)
    }
  }

  #torn(inode: Inode): Buffer {
    const { bytes, durable } = inode
    if (bytes.equals(durable)) return bytes
    const size =
      this.#random(2) === 0
        ? bytes.length
        : Math.min(bytes.length, durable.length + this.#random(Math.max(1, bytes.length - durable.length)))
    const torn = Buffer.alloc(size)
    for (let at = 0; at < size; at += PAGE) {
      const from = this.#random(2) === 0 ? bytes : durable
      // What was never written reads as zeros.
      if (at < from.length) from.copy(torn, at, at, Math.min(at + PAGE, size))
    }
    return torn
  }

  async open(path: string, mode: OpenMode): Promise<LogFile> {
    await this.#call()
    let inode = this.#names.get(path)
    if (mode === 'create') {
      inode = { bytes: Buffer.alloc(0), durable: Buffer.alloc(0) }
      this.#change([{ name: path, inode }])
    }
    if (!inode) throw Object.assign(new Error(`no ${path}`), { code: 'ENOENT' })
    return this.#file(inode)
  }

  #file(inode: Inode): LogFile {
    const sync = async (): Promise<void> => {
      const { bytes } = inode
      await this.#call()
      if (!this.liesAboutSync) inode.durable = Buffer.from(bytes)
    }
    return {
      read: async (into, offset, length, position) => inode.bytes.copy(into, offset, position, position + length),
      write: async (from, offset, length, position) => {
        const written = this.#random(4) === 0 ? 1 + this.#random(length) : length
        const grown = Buffer.alloc(Math.max(inode.bytes.length, position + written))
        inode.bytes.copy(grown)
        from.copy(grown, position, offset, offset + written)
        inode.bytes = grown
        await this.#call()
        return written
      },
      datasync: sync,
      sync,
      truncate: async (bytes) => {
        inode.bytes = Buffer.from(inode.bytes.subarray(0, bytes))
        await this.#call()
      },
      size: async () => inode.bytes.length,
      close: async () => undefined,
    }
  }

  async list(directory: string): Promise<string[]> {
    return [...this.#names.keys()].map((name) => name.slice(directory.length + 1)).sort()
  }
  async rename(from: string, to: string): Promise<void> {
    await this.#call()
    this.#change([
      { name: to, inode: this.#names.get(from) },
      { name: from, inode: undefined },
    ])
  }
  async remove(path: string): Promise<void> {
    await this.#call()
    this.#change([{ name: path, inode: undefined }])
  }
  async makeDirectory(): Promise<void> {}
  async syncDirectory(): Promise<void> {
    await this.#call()
    if (!this.liesAboutSync) this.#durableNames = new Map(this.#names)
    if (!this.liesAboutSync) this.#changes = []
  }
}
