// Fetches the jars of a real Kafka broker into a directory: through Maven where it is installed, else file by file from a Maven
// repository named by MAVEN_REPOSITORY. Owns the list of jars (kafka-jars.json: path in a repository → SHA-256).
//
// 1. No jar is used whose checksum is not the listed one, however it came.
// 2. A directory is complete or not there: files are gathered beside it and renamed at the end.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import listed from './kafka-jars.json' with { type: 'json' }

/** Path in a Maven repository → SHA-256. */
export type JarList = Readonly<Record<string, string>>

export const KAFKA_JARS: JarList = listed
const KAFKA = 'org.apache.kafka:kafka_2.13:4.3.1'
const LOGGING = 'org.apache.logging.log4j:log4j-slf4j-impl:2.25.4'
/** Downloads at once. */
const PARALLEL = 6

export interface JarSource {
  readonly jars: JarList
  /** Base address of a Maven repository; used where Maven is missing. */
  readonly repository?: string | undefined
  readonly hasMaven: boolean
  readonly say: (line: string) => void
}

export function usualSource(say: (line: string) => void): JarSource {
  const hasMaven = spawnSync('mvn', ['-v'], { stdio: 'ignore' }).status === 0
  return { jars: KAFKA_JARS, repository: process.env.MAVEN_REPOSITORY, hasMaven, say }
}

/** Makes sure that `directory` holds all jars, each with its checksum. */
export async function ensureJars(directory: string, source: JarSource): Promise<void> {
  if (existsSync(directory)) return
  const gathered = `${directory}.${process.pid}`
  await rm(gathered, { recursive: true, force: true })
  await mkdir(gathered, { recursive: true })
  try {
    if (source.hasMaven) await copyThroughMaven(gathered, source)
    else await download(gathered, source)
    await checkJars(gathered, source.jars)
    await rename(gathered, directory).catch((error: NodeJS.ErrnoException) => {
      // Another process was faster (2).
      if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error
    })
  } finally {
    await rm(gathered, { recursive: true, force: true })
  }
}

async function copyThroughMaven(directory: string, source: JarSource): Promise<void> {
  source.say(`fetching ${KAFKA} through Maven`)
  await writeFile(join(directory, 'pom.xml'), pom())
  const ran = spawnSync('mvn', ['-B', '-q', 'dependency:copy-dependencies', '-DoutputDirectory=.'], { cwd: directory, encoding: 'utf8' })
  if (ran.status !== 0) throw new Error(`mvn could not fetch ${KAFKA}:\n${ran.stdout}\n${ran.stderr}`)
  await rm(join(directory, 'pom.xml'))
}

function pom(): string {
  const dependency = (coordinates: string): string => {
    const [group, artifact, version] = coordinates.split(':')
    return `<dependency><groupId>${group}</groupId><artifactId>${artifact}</artifactId><version>${version}</version></dependency>`
  }
  return `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tributary</groupId><artifactId>kafka-local</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>${dependency(KAFKA)}${dependency(LOGGING)}</dependencies>
</project>
`
}

async function download(directory: string, source: JarSource): Promise<void> {
  const { repository } = source
  if (!repository)
    throw new Error(`No Maven here: install it, or set MAVEN_REPOSITORY to the https address of a Maven repository that has ${KAFKA}.`)
  source.say(`fetching ${Object.keys(source.jars).length} jars from MAVEN_REPOSITORY`)
  const waiting = Object.keys(source.jars)
  const work = async (): Promise<void> => {
    for (let path = waiting.shift(); path !== undefined; path = waiting.shift()) {
      const answer = await fetch(`${repository.replace(/\/+$/, '')}/${path}`)
      if (!answer.ok) throw new Error(`${path}: the repository answered ${answer.status}`)
      await writeFile(join(directory, basename(path)), Buffer.from(await answer.arrayBuffer()))
    }
  }
  await Promise.all(Array.from({ length: PARALLEL }, work))
}

/** Throws unless the directory holds exactly the listed jars (1). */
async function checkJars(directory: string, jars: JarList): Promise<void> {
  const wanted = new Map(Object.entries(jars).map(([path, sum]) => [basename(path), sum]))
  for (const name of await readdir(directory)) {
    const sum = createHash('sha256')
      .update(await readFile(join(directory, name)))
      .digest('hex')
    if (wanted.get(name) !== sum) throw new Error(`${name}: SHA-256 is ${sum}, expected ${wanted.get(name) ?? 'no such file'}`)
    wanted.delete(name)
  }
  if (wanted.size > 0) throw new Error(`missing: ${[...wanted.keys()].join(', ')}`)
}
