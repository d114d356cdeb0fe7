// A single-node Kafka broker (KRaft, combined controller) on loopback, for development and tests. Owns one directory with its
// settings, storage, log and state file; starts, stops and watches one Java process.
//
// 1. Nothing listens beyond 127.0.0.1.
// 2. `broker.json` names the running process; a process that is gone counts as stopped.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, openSync } from 'node:fs'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ensureJars, usualSource } from './kafka-jars.ts'
import { isReady } from './kafka-ready.ts'
import { type Secured, type SecuredSettings, securedSettings } from './kafka-secured.ts'

export interface BrokerOptions {
  /** Where it keeps everything of its own. */
  readonly directory: string
  /** Where the jars are, or will be. */
  readonly jars: string
  /** 0: any free one. */
  readonly port: number
  /** Adds listeners with SASL and TLS, and access control. */
  readonly isSecured?: boolean
  /** It goes on when this process ends; otherwise it is in this one's group, and gets its signals. */
  readonly staysBehind?: boolean
  /** Compiles what is hot as well as Java can, which takes CPU at first: for benchmarks. */
  readonly isMeasured?: boolean
  readonly say: (line: string) => void
}

export interface Broker {
  readonly pid: number
  readonly port: number
  readonly brokers: string
  readonly secured?: Secured
}

/** A start under load took 11 s. */
const START_MS = 60_000
const STOP_MS = 20_000
const POLL_MS = 50

/** The usual place for jars and brokers: outside the tracked files, shared by all runs of this clone. */
export const KAFKA_CACHE = process.env.TRIBUTARY_KAFKA_CACHE ?? join(import.meta.dirname, '..', '.kafka')

/** Starts a broker in its directory and resolves once it answers. */
export async function startBroker(options: BrokerOptions): Promise<Broker> {
  const running = await findBroker(options.directory)
  if (running) return running
  if (spawnSync('java', ['-version'], { stdio: 'ignore' }).status !== 0) throw new Error('Kafka needs Java 17 or later; no java was found.')
  await ensureJars(options.jars, usualSource(options.say))
  await mkdir(options.directory, { recursive: true })
  const ports = await portsOf(options)
  const secured = options.isSecured ? securedSettings(options.directory, ports) : undefined
  await writeFile(join(options.directory, 'server.properties'), settings(ports, secured))
  await writeFile(join(options.directory, 'log4j2.properties'), LOGGING)
  await format(options)
  const child = launch(options)
  const told = secured ? { secured: secured.told } : {}
  const broker: Broker = { pid: child.pid ?? 0, port: ports.port, brokers: `127.0.0.1:${ports.port}`, ...told }
  await writeFile(stateFile(options.directory), JSON.stringify(broker))
  try {
    await answers(options.directory, ports.port, child)
  } catch (error) {
    child.kill('SIGKILL')
    await rm(stateFile(options.directory), { force: true })
    throw error
  }
  return broker
}

/** The broker that runs in a directory, if one does (2). */
export async function findBroker(directory: string): Promise<Broker | undefined> {
  if (!existsSync(stateFile(directory))) return undefined
  const broker = JSON.parse(await readFile(stateFile(directory), 'utf8')) as Broker
  return (await isOurs(broker.pid, directory)) ? broker : undefined
}

/** Stops what runs in a directory; true when something did. */
export async function stopBroker(directory: string, signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<boolean> {
  const broker = await findBroker(directory)
  if (!broker) return false
  process.kill(broker.pid, signal)
  for (const until = Date.now() + STOP_MS; await isOurs(broker.pid, directory); await sleep(POLL_MS)) {
    if (Date.now() > until) process.kill(broker.pid, 'SIGKILL')
  }
  await rm(stateFile(directory), { force: true })
  return true
}

const stateFile = (directory: string): string => join(directory, 'broker.json')

/** Pids are used again: the command line says whose it is. */
async function isOurs(pid: number, directory: string): Promise<boolean> {
  const [command, status] = await Promise.all(['cmdline', 'status'].map((name) => readFile(`/proc/${pid}/${name}`, 'utf8').catch(() => '')))
  return (command ?? '').includes(join(directory, 'server.properties')) && !/^State:\s+Z/m.test(status ?? '')
}

interface Ports {
  readonly port: number
  readonly controller: number
  readonly sasl: number
  readonly tls: number
}

/** The ports of this directory: chosen at the first start and kept, since the controller's is written into the storage. */
async function portsOf(options: BrokerOptions): Promise<Ports> {
  const file = join(options.directory, 'ports.json')
  const kept = existsSync(file) ? (JSON.parse(await readFile(file, 'utf8')) as Ports) : undefined
  if (kept && (options.port === 0 || options.port === kept.port)) return kept
  const held = await Promise.all([options.port, 0, 0, 0].map(listenOn))
  const [port, controller, sasl, tls] = held.map((s) => (s.address() as AddressInfo).port) as [number, number, number, number]
  await Promise.all(held.map((s) => new Promise((resolve) => s.close(resolve))))
  const ports = { ...{ port, controller, sasl, tls }, ...(kept ? { controller: kept.controller } : {}) }
  await writeFile(file, JSON.stringify(ports))
  return ports
}

function listenOn(port: number): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(port, '127.0.0.1', () => resolve(server))
  })
}

function settings(ports: Ports, secured: SecuredSettings | undefined): string {
  const address = `PLAINTEXT://127.0.0.1:${ports.port}${secured?.listeners ?? ''}`
  return [
    'process.roles=broker,controller',
    'node.id=1',
    `listeners=${address},CONTROLLER://127.0.0.1:${ports.controller}`,
    `advertised.listeners=${address}`,
    'controller.listener.names=CONTROLLER',
    `controller.quorum.bootstrap.servers=127.0.0.1:${ports.controller}`,
    `listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT${secured?.protocols ?? ''}`,
    'inter.broker.listener.name=PLAINTEXT',
    ...SMALL,
    ...(secured?.lines ?? []),
    '',
  ].join('\n')
}

/** One node, small, quick to start and to notice a restart. */
const SMALL = [
  'log.dirs=storage',
  'offsets.topic.num.partitions=1',
  'offsets.topic.replication.factor=1',
  'transaction.state.log.num.partitions=1',
  'transaction.state.log.replication.factor=1',
  'transaction.state.log.min.isr=1',
  'share.coordinator.state.topic.num.partitions=1',
  'share.coordinator.state.topic.replication.factor=1',
  'share.coordinator.state.topic.min.isr=1',
  'num.partitions=1',
  'auto.create.topics.enable=false',
  'group.initial.rebalance.delay.ms=0',
  'group.min.session.timeout.ms=1000',
  'broker.session.timeout.ms=2000',
  'broker.heartbeat.interval.ms=500',
  'num.network.threads=2',
  'num.io.threads=4',
  'background.threads=2',
  'log.cleaner.threads=1',
  'log.cleaner.dedupe.buffer.size=16777216',
  'log.segment.bytes=67108864',
]

const LOGGING = [
  'rootLogger.level=WARN',
  'rootLogger.appenderRef.stdout.ref=stdout',
  'appender.stdout.type=Console',
  'appender.stdout.name=stdout',
  'appender.stdout.layout.type=PatternLayout',
  'appender.stdout.layout.pattern=%d %p %c{1} - %m%n',
  '',
].join('\n')

const java = (options: BrokerOptions, heap: string): string[] => [
  ...[heap, ...(options.isMeasured ? [] : ['-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1'])],
  ...[`-Dlog4j2.configurationFile=${join(options.directory, 'log4j2.properties')}`, '-cp', join(options.jars, '*')],
]

/** Sixteen random bytes as Kafka writes them. One that began with a hyphen would be taken for an option. */
export function clusterId(): string {
  const bytes = randomBytes(16)
  bytes.writeUInt8(bytes.readUInt8(0) & 0x7f, 0)
  return bytes.toString('base64url')
}

async function format(options: BrokerOptions): Promise<void> {
  if (existsSync(join(options.directory, 'storage', 'meta.properties'))) return
  const file = join(options.directory, 'server.properties')
  const command = ['kafka.tools.StorageTool', 'format', '--standalone', '-t', clusterId(), '-c', file]
  const ran = spawnSync('java', [...java(options, '-Xmx128m'), ...command], { cwd: options.directory, encoding: 'utf8' })
  if (ran.status !== 0) throw new Error(`The storage could not be formatted:\n${ran.stdout}\n${ran.stderr}`)
}

function launch(options: BrokerOptions): ChildProcess {
  const log = openSync(join(options.directory, 'broker.log'), 'a')
  const command = [
    ...java(options, options.isMeasured ? '-Xmx768m' : '-Xmx512m'),
    'kafka.Kafka',
    join(options.directory, 'server.properties'),
  ]
  const child = spawn('java', command, { cwd: options.directory, detached: options.staysBehind === true, stdio: ['ignore', log, log] })
  child.unref()
  return child
}

/** Resolves once metadata lists a broker: a TCP connection alone is too early. */
async function answers(directory: string, port: number, child: ChildProcess): Promise<void> {
  const giveUpAt = Date.now() + START_MS
  while (!(await isReady(port))) {
    if (child.exitCode !== null || child.signalCode !== null || Date.now() > giveUpAt) {
      const file = join(directory, 'broker.log')
      throw new Error(`The broker did not start; the end of ${file}:\n${(await readFile(file, 'utf8')).slice(-2000)}`)
    }
    await sleep(POLL_MS)
  }
}
