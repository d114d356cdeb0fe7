// The arrows hold, and the tool that says so has really looked: it saw every file, and it reports planted violations.
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { cruise, type ICruiseResult } from 'dependency-cruiser'
import { expect, test } from 'vitest'

const ROOT = join(import.meta.dirname, '..')

interface Config {
  readonly forbidden: never[]
  readonly options: { readonly [name: string]: unknown }
}

async function look(baseDir: string): Promise<ICruiseResult> {
  const { forbidden, options } = createRequire(import.meta.url)('../.dependency-cruiser.cjs') as Config
  const { tsConfig: _, enhancedResolveOptions, ...rest } = options
  const found = await cruise(
    ['src'],
    { ...rest, baseDir, validate: true, ruleSet: { forbidden }, outputType: 'json' },
    enhancedResolveOptions as object,
  )
  return JSON.parse(String(found.output)) as ICruiseResult
}

const broken = (result: ICruiseResult) => result.summary.violations.map((v) => `${v.rule.name}: ${v.from} → ${v.to}`).sort()

test('every import in src/ follows the arrows', async () => {
  const result = await look(ROOT)
  const seen = result.modules.map((m) => m.source).filter((path) => /^src\/.*\.ts$/.test(path))
  const files = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith('.ts'))
  expect(files.length).toBeGreaterThan(20)
  expect(seen.sort()).toEqual(files.map((path) => `src/${path}`).sort())
  expect(broken(result)).toEqual([])
})

const PLANTED: { readonly [path: string]: string } = {
  'src/core/leaf.ts': "import type { Log } from '../log/log.ts'\nexport type Leaf = Log",
  'src/log/log.ts': "import kafkajs from 'kafkajs'\nexport type Log = typeof kafkajs",
  'src/log/kafka-log.ts': "import kafkajs from 'kafkajs'\nexport const log = kafkajs",
  'src/state/store.ts': "import binding from 'rocksdb-native'\nexport const store = binding",
  'src/intake/intake.ts': "import type { Task } from '../engine/task.ts'\nexport type Intake = Task",
  'src/engine/task.ts':
    "import binding from 'rocksdb-native'\nimport { api } from '../api/api.ts'\nexport type Task = typeof binding\nexport const task = api",
  'src/api/api.ts': "import { Config } from '../config.ts'\nexport const api = Config",
  'src/config.ts': 'export const Config = 1',
  'src/identity/a.ts': "import type { B } from './b.ts'\nexport type A = B",
  'src/identity/b.ts': "import type { A } from './a.ts'\nexport type B = A",
  'src/newcomer/x.ts': "import { Config } from '../config.ts'\nexport const x = Config",
  'src/cli/y.ts': "import { gone } from '../core/gone.ts'\nexport const y = gone",
  'node_modules/kafkajs/index.js': 'module.exports = 1',
  'node_modules/rocksdb-native/index.js': 'module.exports = 1',
}

test('planted violations are reported, each by its rule, and nothing else is', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'arrows-'))
  try {
    for (const [path, text] of Object.entries({ ...PLANTED, 'package.json': '{"type":"module"}' })) {
      mkdirSync(dirname(join(dir, path)), { recursive: true })
      writeFileSync(join(dir, path), `${text}\n`)
    }
    const found = broken(await look(dir))
    expect(found).toEqual([
      'arrows-core: src/core/leaf.ts → src/log/log.ts',
      'arrows-engine: src/engine/task.ts → src/api/api.ts',
      'arrows-intake: src/intake/intake.ts → src/engine/task.ts',
      'kafkajs-only-in-log: src/log/log.ts → node_modules/kafkajs/index.js',
      'known-folders: src/newcomer/x.ts → src/config.ts',
      expect.stringMatching(/^no-cycles: src\/identity\/[ab]\.ts → src\/identity\/[ab]\.ts$/),
      'resolvable: src/cli/y.ts → ../core/gone.ts',
      'rocksdb-only-in-state: src/engine/task.ts → node_modules/rocksdb-native/index.js',
    ])
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
})
