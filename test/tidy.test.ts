// The rules of style that neither the compiler nor the linter holds, checked on the syntax tree of every file of src/.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { describe, expect, test } from 'vitest'

const MAX_FUNCTION_LINES = 70
const MAX_FILE_LINES = 800
/** Beyond this a file is a smell: named in the output, not refused. */
const LONG_FILE_LINES = 500
const MAX_PARAMETERS = 4

type Rule =
  | 'function-length'
  | 'file-length'
  | 'parameters'
  | 'clock'
  | 'random'
  | 'any'
  | 'non-null'
  | 'todo'
  | 'barrel'
  | 'opening-comment'

/** What is allowed nevertheless, each with its reason. An entry that nothing needs any more fails the test. */
const EXCEPTIONS: readonly { readonly path: string; readonly rule: Rule; readonly why: string }[] = [
  { path: 'src/core/clock.ts', rule: 'clock', why: 'the one place that reads the clock and arms timers' },
  { path: 'src/intake/sources/take.ts', rule: 'clock', why: 'ends a turn with setImmediate, which reads no clock' },
  { path: 'src/engine/open.ts', rule: 'clock', why: 'ends a turn with setImmediate, which reads no clock' },
  { path: 'src/engine/turns.ts', rule: 'clock', why: 'ends a turn with setImmediate, which reads no clock' },
  { path: 'src/log/kafka-reader.ts', rule: 'clock', why: 'ends a turn with setImmediate, which reads no clock' },
  { path: 'src/state/store-thread.ts', rule: 'clock', why: 'ends a turn with setImmediate, which reads no clock' },
]

/** main.ts composes the process: it may read the clock. No exception, as it need not. */
const MAY_READ_CLOCK = 'src/main.ts'

const CLOCK_CALLS = new Set([
  'Date.now',
  'performance.now',
  'setTimeout',
  'setInterval',
  'setImmediate',
  'process.hrtime',
  'process.hrtime.bigint',
])
const COMMENT_FIRST = /^src\/(engine|state|log|identity)\//

interface Finding {
  readonly rule: Rule
  readonly path: string
  readonly line: number
  readonly what: string
}

function findings(path: string, text: string): Finding[] {
  const file = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true)
  const found: Finding[] = []
  const lineOf = (position: number) => file.getLineAndCharacterOfPosition(position).line + 1
  const add = (rule: Rule, position: number, what: string) => found.push({ rule, path, line: lineOf(position), what })
  const visit = (node: ts.Node): void => {
    for (const [rule, what] of nodeFindings(node)) add(rule, node.getStart(), what)
    ts.forEachChild(node, visit)
  }
  visit(file)
  const lines = text.split('\n').length - 1
  if (lines > MAX_FILE_LINES) add('file-length', 0, `${lines} lines`)
  for (const m of text.matchAll(/\b(TODO|FIXME|XXX|HACK)\b/g)) add('todo', m.index, m[0])
  if (COMMENT_FIRST.test(path) && !/^(\/\/|\/\*)/.test(text)) add('opening-comment', 0, 'begins without a comment')
  return found
}

function* nodeFindings(node: ts.Node): Generator<[Rule, string]> {
  if (ts.isFunctionLike(node)) yield* functionFindings(node)
  if (ts.isCallExpression(node) || ts.isNewExpression(node)) yield* callFindings(node)
  if (ts.isImportDeclaration(node) && /^'(node:)?timers(\/promises)?'$/.test(node.moduleSpecifier.getText()))
    yield ['clock', node.getText()]
  if (node.kind === ts.SyntaxKind.AnyKeyword) yield ['any', 'any']
  if (ts.isNonNullExpression(node)) yield ['non-null', node.getText().slice(0, 60)]
  if (ts.isExportDeclaration(node) && node.moduleSpecifier) yield ['barrel', node.getText()]
}

function* functionFindings(node: ts.SignatureDeclaration): Generator<[Rule, string]> {
  const name = node.name?.getText() ?? 'a function'
  const parameters = node.parameters.filter((p) => p.name.getText() !== 'this').length
  if (parameters > MAX_PARAMETERS) yield ['parameters', `${name} takes ${parameters} parameters`]
  const lines = node.getText().split('\n').length
  if ('body' in node && node.body && lines > MAX_FUNCTION_LINES) yield ['function-length', `${name} has ${lines} lines`]
}

function* callFindings(node: ts.CallExpression | ts.NewExpression): Generator<[Rule, string]> {
  const callee = node.expression.getText().replace(/^globalThis\./, '')
  if (callee === 'Math.random') yield ['random', callee]
  if (CLOCK_CALLS.has(callee)) yield ['clock', callee]
  if (callee === 'Date' && (node.arguments ?? []).length === 0) yield ['clock', `${node.getText()} without an argument`]
}

const ROOT = join(import.meta.dirname, '..')
const FILES = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.ts') && !path.endsWith('.d.ts'))
  .map((path) => ({ path: `src/${path}`, text: readFileSync(join(ROOT, 'src', path), 'utf8') }))

describe('src/', () => {
  const all = FILES.flatMap(({ path, text }) => findings(path, text))
  const isExcepted = (f: Finding) => f.path === MAY_READ_CLOCK || EXCEPTIONS.some((e) => e.path === f.path && e.rule === f.rule)

  test('there is something to look at', () => {
    expect(FILES.length).toBeGreaterThan(20)
    const long = FILES.map(({ path, text }) => [path, text.split('\n').length - 1] as const).filter(([, lines]) => lines > LONG_FILE_LINES)
    if (long.length > 0)
      console.warn(`files over ${LONG_FILE_LINES} lines: ${long.map(([path, lines]) => `${path} (${lines})`).join(', ')}`)
  })

  test('is tidy', () => {
    expect(all.filter((f) => !isExcepted(f)).map((f) => `${f.path}:${f.line} ${f.rule}: ${f.what}`)).toEqual([])
  })

  test('every exception is needed', () => {
    expect(EXCEPTIONS.filter((e) => !all.some((f) => f.path === e.path && f.rule === e.rule)).map((e) => `${e.path} ${e.rule}`)).toEqual([])
  })
})

describe('each rule finds a planted fault', () => {
  const rulesIn = (text: string, path = 'src/core/x.ts') => findings(path, text).map((f) => f.rule)
  test.each<[Rule, string]>([
    ['function-length', `function f() {\n${'  g()\n'.repeat(70)}}\n`],
    ['function-length', `const f = () => {\n${'  g()\n'.repeat(70)}}\n`],
    ['function-length', `class A {\n  m() {\n${'  g()\n'.repeat(70)}}\n}\n`],
    ['file-length', 'g()\n'.repeat(801)],
    ['parameters', 'function f(a: A, b: A, c: A, d: A, e: A) {}\n'],
    ['parameters', 'class A {\n  constructor(a: A, b: A, c: A, d: A, e: A) {}\n}\n'],
    ['clock', 'const t = Date.now()\n'],
    ['clock', 'const t = new Date()\n'],
    ['clock', 'const t = Date()\n'],
    ['clock', 'const t = performance.now()\n'],
    ['clock', 'globalThis.setTimeout(f, 1)\n'],
    ['clock', 'setInterval(f, 1)\n'],
    ['clock', "import { setTimeout as later } from 'node:timers/promises'\n"],
    ['random', 'const r = Math.random()\n'],
    ['any', 'const x: any = 1\n'],
    ['non-null', 'f(x!)\n'],
    ['todo', '// TODO later\n'],
    ['barrel', "export * from './a.ts'\n"],
    ['barrel', "export { a } from './a.ts'\n"],
  ])('%s (sample %#)', (rule, text) => {
    expect(rulesIn(text)).toEqual([rule])
  })

  test('opening-comment', () => {
    const text = 'export const a = 1\n'
    expect(rulesIn(text, 'src/state/x.ts')).toEqual(['opening-comment'])
    expect(rulesIn(`// Owns a.\n${text}`, 'src/state/x.ts')).toEqual([])
  })

  test('and none finds a fault where there is none', () => {
    const text = `function f(a: A, b: A, c: A, d: A) {\n${'  g()\n'.repeat(68)}}\nconst t = new Date(0)\nconst s = clock.now()\nexport { f }\n`
    expect(rulesIn(text)).toEqual([])
  })
})
