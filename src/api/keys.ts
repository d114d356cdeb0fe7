// Who may call what. Keys are held as hashes only; a presented key is hashed and found by its digest, so that neither the look-up
// nor the comparison tells how much of a guess was right.
import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import type { KeyConfig, Role } from '../config.ts'
import { TributaryError } from '../core/errors.ts'

/** What a route asks for: a key, the secret that processes of a cluster share, or (`open`) nothing. */
export type Access = Role | 'process' | 'open'

const GRANTS: { readonly [role in Role]: readonly Role[] } = {
  write: ['write'],
  read: ['read'],
  admin: ['write', 'read', 'admin'],
}

export class Keys {
  readonly #byHash: ReadonlyMap<string, { readonly key: KeyConfig; readonly digest: Buffer }>

  constructor(keys: readonly KeyConfig[]) {
    this.#byHash = new Map(keys.map((key) => [key.hash, { key, digest: Buffer.from(key.hash, 'hex') }]))
  }

  /** Without keys everyone may do everything (config.ts refuses to listen so beyond loopback). */
  get open(): boolean {
    return this.#byHash.size === 0
  }

  /** The key, or why not: unauthorized for an unknown one, forbidden for one that may not do this. */
  demand(presented: string | undefined, role: Role): KeyConfig {
    if (presented === undefined) throw new TributaryError('unauthorized', 'No key was sent.')
    const digest = createHash('sha256').update(presented).digest()
    const found = this.#byHash.get(digest.toString('hex'))
    if (!found || !timingSafeEqual(found.digest, digest)) throw new TributaryError('unauthorized', 'The key is not known.')
    if (!GRANTS[found.key.role].includes(role)) throw new TributaryError('forbidden', `A ${found.key.role} key may not make this call.`)
    return found.key
  }
}

/** The key that a request's headers carry: Basic user name, Bearer token, or X-Write-Key (Jitsu). */
export function presentedKey(headers: IncomingHttpHeaders): string | undefined {
  const { authorization } = headers
  if (authorization !== undefined) {
    const basic = /^basic\s+(\S+)\s*$/i.exec(authorization)
    if (basic)
      return (
        Buffer.from(basic[1] ?? '', 'base64')
          .toString('utf8')
          .split(':', 1)[0] || undefined
      )
    return /^bearer\s+(\S+)\s*$/i.exec(authorization)?.[1]
  }
  const written = headers['x-write-key']
  return typeof written === 'string' && written !== '' ? written : undefined
}
