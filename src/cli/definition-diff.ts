// What applying definitions would change, and how that is shown.
import type { SegmentView } from '../engine/engine.ts'
import { canonicalText } from '../operators/canonical.ts'
import type { SegmentDefinition } from '../operators/definition.ts'
import { grouped, type Paint } from './terminal.ts'

export type Change =
  | { readonly kind: 'new' | 'unchanged'; readonly id: string; readonly wanted: SegmentDefinition }
  | { readonly kind: 'changed'; readonly id: string; readonly wanted: SegmentDefinition; readonly current: SegmentView }
  | { readonly kind: 'only on server'; readonly id: string; readonly current: SegmentView }

export function changesBetween(wanted: readonly SegmentDefinition[], current: readonly SegmentView[]): Change[] {
  const onServer = new Map(current.map((s) => [s.id, s]))
  const named = new Set(wanted.map((s) => s.id))
  const changes = wanted.map((definition): Change => {
    const { id } = definition
    const view = onServer.get(id)
    if (!view) return { kind: 'new', id, wanted: definition }
    const same = view.name === definition.name && canonicalText(view.where) === canonicalText(definition.where)
    return same ? { kind: 'unchanged', id, wanted: definition } : { kind: 'changed', id, wanted: definition, current: view }
  })
  const others = current.filter((s) => !named.has(s.id)).map((view): Change => ({ kind: 'only on server', id: view.id, current: view }))
  return [...changes, ...others]
}

export function changeText(change: Change, prune: boolean, paint: Paint): string {
  const name = 'wanted' in change && change.wanted.name !== undefined ? `  ${paint('dim', change.wanted.name)}` : ''
  switch (change.kind) {
    case 'unchanged':
      return paint('dim', `  ${change.id}  unchanged`)
    case 'new':
      return [paint('green', `+ ${change.id}  new`) + name, ...pretty(change.wanted).map((line) => paint('green', `    + ${line}`))].join(
        '\n',
      )
    case 'changed':
      return [
        paint('yellow', `~ ${change.id}  changed`) + name,
        ...lineDiff(pretty(change.current), pretty(change.wanted)).map(([mark, line]) => {
          const text = `    ${mark} ${line}`
          return mark === '+' ? paint('green', text) : mark === '-' ? paint('red', text) : paint('dim', text)
        }),
      ].join('\n')
    case 'only on server': {
      const fate = prune ? `will be deleted; ${grouped(change.current.size)} members exit` : 'only on the server; --prune deletes it'
      return paint(prune ? 'red' : 'dim', `${prune ? '-' : ' '} ${change.id}  ${fate}`)
    }
  }
}

/** What fits stays on one line, so that a difference shows the condition it is in. */
const LINE_CHARACTERS = 90

function pretty({ name, where }: Pick<SegmentDefinition, 'name' | 'where'>): string[] {
  return layOut({ ...(name === undefined ? {} : { name }), where }, '').split('\n')
}

function layOut(json: unknown, indent: string): string {
  const flat = JSON.stringify(json)
  if (typeof json !== 'object' || json === null || flat.length + indent.length <= LINE_CHARACTERS) return flat
  const inner = `${indent}  `
  const members = Array.isArray(json)
    ? json.map((item) => inner + layOut(item, inner))
    : Object.entries(json).map(([key, value]) => `${inner}${JSON.stringify(key)}: ${layOut(value, inner)}`)
  const [open, close] = Array.isArray(json) ? '[]' : '{}'
  return `${open}\n${members.join(',\n')}\n${indent}${close}`
}

type Mark = ' ' | '+' | '-'

/** Lines kept, added and taken away, by their longest common subsequence. */
export function lineDiff(a: readonly string[], b: readonly string[]): [mark: Mark, line: string][] {
  const width = b.length + 1
  const common = new Uint32Array((a.length + 1) * width)
  const at = (i: number, j: number): number => common[i * width + j] ?? 0
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      common[i * width + j] = a[i] === b[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1))
    }
  }
  const out: [Mark, string][] = []
  let [i, j] = [0, 0]
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      out.push([' ', a[i] ?? ''])
      i++
      j++
    } else if (i < a.length && (j >= b.length || at(i + 1, j) >= at(i, j + 1))) out.push(['-', a[i++] ?? ''])
    else out.push(['+', b[j++] ?? ''])
  }
  return out
}
