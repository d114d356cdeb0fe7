// A disk of its own, so small that it can really be filled: mounted where that is allowed, which takes root.
import { execFileSync } from 'node:child_process'
import { closeSync, ftruncateSync, mkdirSync, mkdtempSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export type DiskKind = 'tmpfs' | 'ext4'

const CHUNK = Buffer.alloc(1 << 20, 1)
/** An ext4 file system writes to a file that is mounted as a device. */
const JOURNAL_BYTES = 8 << 20

export class SmallDisk {
  readonly #root: string
  readonly #mount: string
  readonly #filler: string
  readonly kind: DiskKind
  /** The data directory: an ordinary one, on a disk that has nothing else. */
  readonly path: string
  #isMounted = false

  private constructor(kind: DiskKind) {
    this.kind = kind
    this.#root = mkdtempSync(join(tmpdir(), 'tributary-disk-'))
    this.#mount = join(this.#root, 'disk')
    this.#filler = join(this.#mount, 'filler')
    this.path = join(this.#mount, 'data')
    mkdirSync(this.#mount)
  }

  /** Undefined where nothing can be mounted. */
  static mount(kind: DiskKind, megabytes: number): SmallDisk | undefined {
    const disk = new SmallDisk(kind)
    try {
      if (kind === 'tmpfs') run('mount', '-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tributary-test', disk.#mount)
      else disk.#mountImage(megabytes)
      disk.#isMounted = true
      return disk
    } catch {
      disk.remove()
      return undefined
    }
  }

  #mountImage(megabytes: number): void {
    const image = join(this.#root, 'image')
    const descriptor = openSync(image, 'w')
    ftruncateSync(descriptor, (megabytes << 20) + JOURNAL_BYTES)
    closeSync(descriptor)
    run('mkfs.ext4', '-q', '-m', '0', image)
    run('mount', '-o', 'loop', image, this.#mount)
  }

  freeBytes(): number {
    const s = statfsSync(this.#mount)
    return s.bavail * s.bsize
  }

  /** Leaves no more than `bytes` of free space. */
  fillUpTo(bytes: number): void {
    const descriptor = openSync(this.#filler, 'a')
    try {
      for (let free = this.freeBytes(); free > bytes; free = this.freeBytes()) {
        writeSync(descriptor, CHUNK, 0, Math.ceil(Math.min(CHUNK.length, free - bytes)))
      }
    } catch (error) {
      // Others write, too: then it is full already.
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
    } finally {
      closeSync(descriptor)
    }
  }

  empty(): void {
    rmSync(this.#filler, { force: true })
  }

  remove(): void {
    if (this.#isMounted) run('umount', '--lazy', this.#mount)
    this.#isMounted = false
    rmSync(this.#root, { recursive: true, force: true })
  }
}

function run(command: string, ...argv: string[]): void {
  execFileSync(command, argv, { stdio: 'pipe' })
}
