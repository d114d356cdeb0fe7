// Paths into JSON: `properties.products.sku` from a message, `address.city` from the traits.
//
// A path through a list goes on into every element (or into one, where the component is an index: `products.0.sku`), so it can
// reach several values: a comparison holds if it holds for any of them, and a measure takes each. A list at the *end* of
// a path is one value, which `contains` looks into. null counts as absent.
import type { Json } from '../core/event.ts'

export type Path = readonly string[]

export function parsePath(text: string): Path {
  return text.split('.')
}

/** What a path reaches when it leads through a list: never one value, but possibly none. */
export class Several {
  readonly values: Json[] = []
}

const INDEX = /^(0|[1-9]\d{0,8})$/

/** The value that a path reaches, from its component `from` on: undefined when absent or null. */
export function valueAt(root: Json | undefined, path: Path, from = 0): Json | Several | undefined {
  let value: Json | undefined = root
  for (let i = from; i < path.length; i++) {
    if (value === null || typeof value !== 'object') return undefined
    const name = path[i] as string
    if (Array.isArray(value)) {
      if (!INDEX.test(name)) return throughList(value, path, i)
      value = value[Number(name)]
    } else {
      value = Object.hasOwn(value, name) ? value[name] : undefined
    }
  }
  return value === null ? undefined : value
}

function throughList(list: Json[], path: Path, from: number): Several {
  const several = new Several()
  for (const element of list) {
    const reached = valueAt(element, path, from)
    if (reached instanceof Several) several.values.push(...reached.values)
    else if (reached !== undefined) several.values.push(reached)
  }
  return several
}

/** The values reached, as a list. */
export function listOf(reached: Json | Several | undefined): readonly Json[] {
  if (reached === undefined) return []
  return reached instanceof Several ? reached.values : [reached as Json]
}
