// Every planted bug. Owns nothing.
import { PLANTED_IN_DEPLOYMENTS } from './deployment.ts'
import { PLANTED_IN_ONE, type Planted } from './planted.ts'

export const PLANTED: readonly Planted[] = [...PLANTED_IN_ONE, ...PLANTED_IN_DEPLOYMENTS]
