import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { defineConfig } from 'vitest/config'

// `npm test` runs everything but *.long.test.ts, *.kafka.test.ts and *.slow.test.ts; `npm run test:long` (mode "long"), `npm run
// test:kafka` (mode "kafka", which starts a broker) and `npm run test:slow` (mode "slow") run only those. Continuous integration leaves
// out none but the long ones.
const SPECIAL = ['long', 'kafka', 'slow']
/** Their tests each want the machine to themselves. */
const ALONE = ['long', 'kafka']

export default defineConfig(({ mode }) => ({
  test: {
    include: SPECIAL.includes(mode) ? [`test/**/*.${mode}.test.ts`] : ['test/**/*.test.ts'],
    exclude: SPECIAL.includes(mode) ? ['**/node_modules/**'] : ['**/node_modules/**', ...SPECIAL.map((kind) => `**/*.${kind}.test.ts`)],
    globalSetup: mode === 'kafka' ? ['test/kafka/setup.ts'] : [],
    // Processes, not threads: the native bindings own threads of their own and are not meant to be loaded into several contexts.
    pool: 'forks',
    // The quick suite takes a process for each core, not for each file: to start and to import is a third of what it costs. So a file leaves
    // nothing behind that runs on, and puts back what it replaces.
    isolate: SPECIAL.includes(mode),
    // By default one core is left to others: on two, half the time is waiting for servers that start and stop.
    maxWorkers: ALONE.includes(mode) ? 1 : '100%',
    // Servers that tests start compile the sources once.
    env: { NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE ?? join(tmpdir(), 'tributary-compile-cache') },
    // Of what hangs, not of what is slow: machines that run these tests may have ten other things to do.
    testTimeout: mode === 'long' ? 1_800_000 : 300_000,
    hookTimeout: 120_000,
    reporters: ['default'],
  },
}))
