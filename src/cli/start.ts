import type { Command, Io } from './command.ts'
import { helpText } from './flags.ts'
import { VERSION } from './version.ts'

const USUAL = ['host', 'port', 'dataDir', 'partitions', 'hosts', 'clock', 'logLevel']

export const start: Command = {
  name: 'start',
  summary: 'Run the server.',
  usage: '[options]',
  details: `
Every option of docs/configuration.md is a flag (--data-dir DIR, --identity.limit=500); options also come from tributary.yaml
and from TRIBUTARY_* in the environment. One line on stdout says where the server listens; logs go to stderr.
Ctrl-C or SIGTERM stops it in good order; a second one at once.`,
  flags: [{ name: 'config', value: 'FILE', description: 'Read options from here instead of tributary.yaml.' }],

  async run(argv, io) {
    if (argv.includes('--help')) {
      io.out.write(helpText(start, await usualOptions()))
      return 0
    }
    // The engine, its configuration and its hosts are loaded only here, the other commands need none of them; and the hosts, which takes
    // longest, while the rest is.
    const { spareWorker } = await import('../engine/start-worker.ts')
    const spare = spareWorker()
    const { loadConfig } = await import('../config-load.ts')
    const config = loadConfig({ argv, env: io.env, cwd: io.cwd })
    const { openServer } = await import('./server.ts')
    let crashed = (): void => {}
    const fatal = new Promise<number>((resolve) => {
      crashed = () => resolve(1)
    })
    const server = await openServer(config, { version: VERSION, fatal: () => crashed(), spare })
    io.out.write(`tributary is listening on ${server.url}\n`)
    const code = await Promise.race([fatal, interruption(io)])
    // After a failed write nothing is tried again: what is durable is read back at the next start.
    if (code !== 0) return code
    server.log.info('stopping')
    await server.close()
    server.log.info('stopped')
    return 0
  },
}

async function usualOptions(): Promise<[string, string][]> {
  const { describeOptions } = await import('../config.ts')
  return describeOptions()
    .filter(({ path }) => USUAL.includes(path))
    .map(({ path, default: value, description }) => [
      `--${path.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)} …`,
      `${description} (${value})`,
    ])
}

function interruption(io: Io): Promise<number> {
  return new Promise((resolve) => {
    if (io.interrupted.aborted) resolve(0)
    io.interrupted.addEventListener('abort', () => resolve(0), { once: true })
  })
}
