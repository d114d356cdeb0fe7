import { describe, expect, test } from 'vitest'
import { assertPlatform } from '../../src/cli/platform.ts'

describe('assertPlatform', () => {
  test.each([
    ['24.0.0', 'linux', 'x64'],
    ['24.21.0', 'linux', 'arm64'],
    ['100.1.0', 'linux', 'x64'],
  ])('accepts Node %s on %s %s', (version, platform, arch) => {
    expect(() => assertPlatform(version, platform, arch)).not.toThrow()
  })

  test('accepts this process', () => {
    expect(() => assertPlatform(process.versions.node, process.platform, process.arch)).not.toThrow()
  })

  test.each(['23.11.1', '22.20.0', '9.0.0', '', 'v24.0.0'])('refuses Node %j and says how to start it', (version) => {
    expect(() => assertPlatform(version, 'linux', 'x64')).toThrow(
      expect.objectContaining({
        code: 'unsupported_platform',
        message: expect.stringContaining(`this is ${version}`),
        detail: expect.stringContaining('npm start'),
      }),
    )
  })

  test.each([
    ['darwin', 'arm64'],
    ['win32', 'x64'],
    ['linux', 'ia32'],
    ['linux', 'riscv64'],
  ])('refuses %s %s, whatever the Node', (platform, arch) => {
    expect(() => assertPlatform('24.21.0', platform, arch)).toThrow(
      expect.objectContaining({ code: 'unsupported_platform', message: expect.stringContaining(`${platform} ${arch}`) }),
    )
  })
})
