// Whether this machine can run Tributary. Called first of all, so that nobody meets a syntax error or a missing binding instead.
import { TributaryError } from '../core/errors.ts'

const MIN_NODE_MAJOR = 24
const ARCHITECTURES: readonly string[] = ['x64', 'arm64']

/** Throws `unsupported_platform` unless the given process (process.versions.node, process.platform, process.arch) can run Tributary. */
export function assertPlatform(nodeVersion: string, platform: string, arch: string): void {
  if (platform !== 'linux' || !ARCHITECTURES.includes(arch)) {
    throw new TributaryError('unsupported_platform', `Tributary does not run on ${platform} ${arch}.`, {
      detail: 'Supported are linux x64 and linux arm64 with glibc. On other systems run it in a Linux container or virtual machine.',
    })
  }
  if (!(Number.parseInt(nodeVersion, 10) >= MIN_NODE_MAJOR)) {
    throw new TributaryError('unsupported_platform', `Tributary needs Node.js ${MIN_NODE_MAJOR} or later; this is ${nodeVersion}.`, {
      detail: `Start it with "npm start": npm install has put a Node.js ${MIN_NODE_MAJOR} into node_modules/.bin.`,
    })
  }
}
