import { defineConfig } from 'vitest/config'

// `npm test` runs everything but *.long.test.ts and *.kafka.test.ts; `npm run test:long` (mode "long") and `npm run test:kafka`
// (mode "kafka", which starts a broker) run only those.
const SPECIAL = ['long', 'kafka']

export default defineConfig(({ mode }) => ({
  test: {
    include: SPECIAL.includes(mode) ? [`test/**/*.${mode}.test.ts`] : ['test/**/*.test.ts'],
    exclude: SPECIAL.includes(mode) ? ['**/node_modules/**'] : ['**/node_modules/**', ...SPECIAL.map((kind) => `**/*.${kind}.test.ts`)],
    globalSetup: mode === 'kafka' ? ['test/kafka/setup.ts'] : [],
    // Processes, not threads: the native bindings own threads of their own and are not meant to be loaded into several contexts.
    pool: 'forks',
    testTimeout: mode === 'long' ? 1_800_000 : 30_000,
    hookTimeout: 30_000,
    reporters: ['default'],
  },
}))
