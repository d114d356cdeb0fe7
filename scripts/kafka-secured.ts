// Listeners of the local broker with SASL (PLAIN) and TLS, and access control: for tests of what goes wrong
// against a guarded cluster. Owns the made-up accounts and the self-signed certificate.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'

/** What a client needs to know. */
export interface Secured {
  readonly sasl: string
  readonly tls: string
  /** PEM file of the authority that signed the broker's certificate. */
  readonly authority: string
  /** May do everything. */
  readonly admin: Account
  /** May do nothing. */
  readonly nobody: Account
  /** May do what a test grants it. */
  readonly granted: Account
}

export interface Account {
  readonly username: string
  readonly password: string
}

const ADMIN: Account = { username: 'admin', password: 'admin-secret' }
const NOBODY: Account = { username: 'nobody', password: 'nobody-secret' }
const GRANTED: Account = { username: 'granted', password: 'granted-secret' }
const STORE_PASSWORD = 'local-only'

export interface SecuredSettings {
  readonly told: Secured
  readonly listeners: string
  readonly protocols: string
  readonly lines: readonly string[]
}

export function securedSettings(directory: string, ports: { sasl: number; tls: number }): SecuredSettings {
  const { store, authority } = certificate(directory)
  const sasl = `127.0.0.1:${ports.sasl}`
  const tls = `127.0.0.1:${ports.tls}`
  const accounts = [ADMIN, NOBODY, GRANTED].map((a) => `user_${a.username}="${a.password}"`).join(' ')
  return {
    told: { sasl, tls, authority, admin: ADMIN, nobody: NOBODY, granted: GRANTED },
    listeners: `,SASL://${sasl},TLS://${tls}`,
    protocols: ',SASL:SASL_PLAINTEXT,TLS:SSL',
    lines: [
      'sasl.enabled.mechanisms=PLAIN',
      `listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required ${accounts};`,
      `listener.name.tls.ssl.keystore.location=${store}`,
      `listener.name.tls.ssl.keystore.password=${STORE_PASSWORD}`,
      'listener.name.tls.ssl.keystore.type=PKCS12',
      'authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer',
      `super.users=User:ANONYMOUS;User:${ADMIN.username}`,
      'allow.everyone.if.no.acl.found=false',
    ],
  }
}

function certificate(directory: string): { store: string; authority: string } {
  const store = join(directory, 'broker.p12')
  const authority = join(directory, 'authority.pem')
  const access = ['-keystore', store, '-storetype', 'PKCS12', '-storepass', STORE_PASSWORD, '-alias', 'broker']
  if (!existsSync(store)) {
    const names = ['-dname', 'CN=localhost', '-ext', 'san=ip:127.0.0.1,dns:localhost']
    keytool(['-genkeypair', '-keyalg', 'EC', '-groupname', 'secp256r1', '-validity', '3650', ...names, ...access])
  }
  if (!existsSync(authority)) keytool(['-exportcert', '-rfc', '-file', authority, ...access])
  return { store, authority }
}

function keytool(args: readonly string[]): void {
  const ran = spawnSync('keytool', args, { encoding: 'utf8' })
  if (ran.status !== 0) throw new Error(`keytool failed:\n${ran.stdout}\n${ran.stderr}`)
}
