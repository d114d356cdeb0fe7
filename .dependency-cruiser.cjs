// The arrows between the folders of src/: an import, of a value or a type, goes only to the folders listed here.
//
//   core ← {log, state} ← {identity, operators, intake, destinations} ← engine ← api ← {cli, main}
//
// config.ts is a leaf above core: the engine, the API and the command line read it; only the last finds and loads files (config-load.ts).
const LAYERS = {
  core: [],
  log: ['core'],
  state: ['core'],
  identity: ['core', 'log', 'state'],
  operators: ['core', 'log', 'state'],
  intake: ['core', 'log', 'state'],
  destinations: ['core', 'log', 'state'],
  engine: ['core', 'log', 'state', 'identity', 'operators', 'intake', 'destinations', 'config.ts'],
  api: ['core', 'log', 'state', 'identity', 'operators', 'intake', 'destinations', 'config.ts', 'engine'],
  cli: ['core', 'log', 'state', 'identity', 'operators', 'intake', 'destinations', 'config.ts', 'config-load.ts', 'engine', 'api'],
}

const FILES = { 'config.ts': ['core'], 'config-load.ts': ['core', 'config.ts'] }

const asPattern = (name) => (name.endsWith('.ts') ? `${name.replace('.', '\\.')}$` : `${name}/`)

/** Whatever is in `name` may import from itself, from `allowed` and from packages. */
const layer = ([name, allowed]) => ({
  name: `arrows-${name.replace('.ts', '')}`,
  comment: `${name} may import only ${['itself', ...allowed].join(', ')}`,
  severity: 'error',
  from: { path: `^src/${asPattern(name)}` },
  to: { path: '^src/', pathNot: [name, ...allowed].map((to) => `^src/${asPattern(to)}`) },
})

const onlyIn = (name, where, packages) => ({
  name,
  severity: 'error',
  from: { pathNot: where },
  to: { path: packages.map((p) => `(^|/)${p}(/|$)`) },
})

module.exports = {
  forbidden: [
    ...Object.entries({ ...LAYERS, ...FILES }).map(layer),
    {
      name: 'known-folders',
      comment: 'A new folder of src/ needs a place in the arrows',
      severity: 'error',
      from: { path: '^src/', pathNot: [...Object.keys({ ...LAYERS, ...FILES }), 'main.ts'].map((name) => `^src/${asPattern(name)}`) },
      to: {},
    },
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    { name: 'nothing-imports-main', severity: 'error', from: { path: '^src/' }, to: { path: '^src/main\\.ts$' } },
    { name: 'src-stands-alone', severity: 'error', from: { path: '^src/' }, to: { path: '^(test|bench|examples|web)/' } },
    { name: 'resolvable', severity: 'error', from: {}, to: { couldNotResolve: true } },
    onlyIn('rocksdb-only-in-state', '^(src|test)/state/', ['@nxtedition/rocksdb', 'rocksdb-native']),
    // Tests are users of it too, who write to topics of theirs.
    onlyIn('kafkajs-only-in-log', '^(src/log/kafka[^/]*|test/(log/kafka[^/]*|kafka/.*))\\.ts$', ['kafkajs']),
  ],
  options: {
    // Types count: without this, `import type` is invisible.
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    doNotFollow: { path: 'node_modules' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'node', 'default', 'types'] },
  },
}
