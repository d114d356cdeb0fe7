// Preloaded into a server, in each of its threads: writes down what of which file is durable, whenever a sync has returned, and says
// which boot of the machine this is. (What RocksDB syncs by itself is not seen: its tables and manifests, before it rests on them.)
import { fstatSync, openSync, readdirSync, readlinkSync, writeSync } from 'node:fs'
import promises, { type FileHandle } from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'

const { SYNC_TRACE: path, SYNC_BOOT: boot } = process.env
if (path === undefined || boot === undefined) throw new Error('SYNC_TRACE and SYNC_BOOT say what to do')
const trace = openSync(path, 'a')

/** A line of the trace: which file, by its number and birth, and its durable size, or a directory's durable names. */
export type Synced = readonly [file: string, what: number | readonly string[]]

type Syncing = { [name in 'sync' | 'datasync']: (this: FileHandle) => Promise<void> }

const probe = await promises.open('/dev/null')
const prototype: Syncing = Object.getPrototypeOf(probe)
await probe.close()
for (const name of ['sync', 'datasync'] as const) {
  const real = prototype[name]
  prototype[name] = async function (this: FileHandle) {
    // Before the call: what is written meanwhile may be durable or not.
    const stat = fstatSync(this.fd, { bigint: true })
    const what = stat.isDirectory() ? readdirSync(readlinkSync(`/proc/self/fd/${this.fd}`)) : Number(stat.size)
    await real.call(this)
    const line: Synced = [`${stat.ino}.${stat.birthtimeNs}`, what]
    writeSync(trace, `${JSON.stringify(line)}\n`)
  }
}

const { readFile } = promises
const reading = (...argv: Parameters<typeof readFile>): unknown =>
  String(argv[0]).endsWith('/boot_id') ? Promise.resolve(`${boot}\n`) : readFile(...argv)
Object.assign(promises, { readFile: reading })
syncBuiltinESMExports()
