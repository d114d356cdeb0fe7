import { defineConfig } from 'vitest/config'

// `npm test` runs everything but *.long.test.ts; `npm run test:long` (mode "long") runs only those.
export default defineConfig(({ mode }) => ({
  test: {
    include: mode === 'long' ? ['test/**/*.long.test.ts'] : ['test/**/*.test.ts'],
    exclude: mode === 'long' ? ['**/node_modules/**'] : ['**/node_modules/**', '**/*.long.test.ts'],
    // Processes, not threads: the native bindings own threads of their own and are not meant to be loaded into several contexts.
    pool: 'forks',
    testTimeout: mode === 'long' ? 1_800_000 : 30_000,
    hookTimeout: 30_000,
    reporters: ['default'],
  },
}))
