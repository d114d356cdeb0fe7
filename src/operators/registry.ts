// All operators on events. A new one is its file and one line here, before `count`, which takes what no other does.

import { must } from '../core/assert.ts'
import { average } from './average.ts'
import { count } from './count.ts'
import { distinct } from './distinct.ts'
import { maximum, minimum } from './extreme.ts'
import type { EventCondition, Operator } from './operator.ts'
import { recency } from './recency.ts'
import { sum } from './sum.ts'

export const OPERATORS: readonly Operator<unknown>[] = [recency, sum, average, minimum, maximum, distinct, count]

export function operatorOf(condition: EventCondition): Operator<unknown> {
  return must(
    OPERATORS.find((operator) => operator.takes(condition)),
    'count takes every condition',
  )
}
