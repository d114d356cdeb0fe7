// A plan and how it ended, to be read.
import { INVARIANTS } from './model.ts'
import type { Action, Layout } from './plan.ts'
import type { Outcome } from './run.ts'

/** Steps that are told before the end. */
const STEPS_TOLD = 40

function sentenceOf(action: Action): string {
  switch (action.do) {
    case 'send':
      return `clients send ${action.messages
        .map(
          (m) =>
            `${m.isPoison ? 'poisoned ' : ''}${m.name} #${m.id} of ${m.ids.join('+')} (${m.offsetMs} ms, ${JSON.stringify(m.properties)} ${JSON.stringify(m.traits)})`,
        )
        .join(', ')}`
    case 'repeat':
      return `message ${action.nth} is sent again`
    case 'put':
      return action.where === null ? `segment ${action.id} is deleted` : `segment ${action.id} is ${JSON.stringify(action.where)}`
    case 'wait':
      return `${action.ms} ms pass`
    case 'read':
      return `somebody reads ${action.id}${action.isPinned ? ', as of the last answer' : ''}`
    case 'settle':
      return 'somebody waits until all is settled'
    case 'crash':
      return `the process is to be killed ${action.at}${action.power ? ', with the power' : ''}`
    case 'hold':
      return `${action.what}: "${action.prefix}" waits for up to ${action.steps} steps`
    case 'failLog':
      return `the next ${action.how} of the log ${action.log} fails`
    case 'failStore':
      return `from now on a store fails at its ${action.how}`
    case 'setWall':
      return `the clock is set by ${action.byMs} ms`
    case 'full':
      return action.isFull ? 'the disk is full' : 'the disk has room again'
    case 'oldStore':
      return `the process is killed and finds ${action.isEmpty ? 'empty' : 'older'} stores`
  }
}

const layoutText = (layout: Layout): string =>
  Object.entries(layout)
    .map(([name, value]) => `${name} ${value}`)
    .join(', ')

export function storyOf({ plan, broken, trail, steps }: Outcome): string {
  const actions = plan.actions.map((action, i) => `${String(i + 1).padStart(3)}. ${sentenceOf(action)}; ${action.steps} steps`)
  const end = broken ? `invariant ${broken.invariant} is broken (${INVARIANTS[broken.invariant]}):\n${broken.what}` : 'nothing is broken'
  const told = trail
    .slice(-STEPS_TOLD)
    .map((name, i) => `  ${String(trail.length - Math.min(STEPS_TOLD, trail.length) + i + 1).padStart(5)} ${name}`)
  return [`seed ${plan.seed}; ${layoutText(plan.layout)}`, ...actions, ...told, `after ${steps} steps ${end}`].join('\n')
}
