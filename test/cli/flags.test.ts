import { describe, expect, test } from 'vitest'
import { readFlags } from '../../src/cli/flags.ts'
import { nearest } from '../../src/cli/nearest.ts'
import { table } from '../../src/cli/terminal.ts'
import { run } from './harness.ts'

const COMMAND = {
  name: 'thing',
  flags: [
    { name: 'url', value: 'URL', description: '' },
    { name: 'tag', value: 'T', description: '', repeated: true },
    { name: 'yes', description: '' },
    { name: 'batch', value: 'N', description: '' },
  ],
}
const read = (...argv: string[]) => readFlags(COMMAND, argv)

describe('flags', () => {
  test('values, switches, repeats and words', () => {
    const flags = read('a', '--url', 'x', '--tag=1', '--tag', '2', '--yes', 'b', '-')
    expect(flags.positionals).toEqual(['a', 'b', '-'])
    expect(flags.text('url')).toBe('x')
    expect(flags.texts('tag')).toEqual(['1', '2'])
    expect(flags.on('yes')).toBe(true)
    expect(flags.on('help')).toBe(false)
  })

  test.each([
    [['--ulr', 'x'], '--ulr is no flag of this command. Did you mean --url?'],
    [['--completely-else'], '--completely-else is no flag of this command.'],
    [['-x'], '-x is no flag of this command.'],
    [['--url'], '--url needs a value: --url URL.'],
    [['--url', '--yes'], '--url needs a value: --url URL.'],
    [['--yes=no'], '--yes takes no value.'],
    [['--url', 'x', '--url', 'y'], '--url is given twice.'],
  ])('%j is refused', (argv, message) => {
    expect(() => read(...argv)).toThrow(message)
  })

  test('numbers have bounds', () => {
    const bounds = { min: 1, max: 10, otherwise: 5 }
    expect(read().count('batch', bounds)).toBe(5)
    expect(read('--batch', '10').count('batch', bounds)).toBe(10)
    for (const bad of ['0', '11', '1.5', 'x', ''])
      expect(() => read(`--batch=${bad}`).count('batch', bounds)).toThrow('whole number from 1 to 10')
  })

  test('suggestions are near or absent', () => {
    expect(nearest('statsu', ['status', 'tail'])).toBe(' Did you mean status?')
    expect(nearest('conc', ['concurrency', 'url'], '--')).toBe(' Did you mean --concurrency?')
    expect(nearest('zzzzzz', ['status', 'tail'])).toBe('')
  })

  test('tables align what colours widen', () => {
    expect(
      table(
        [
          ['a', '\x1b[31m1\x1b[39m', 'x'],
          ['long', '100', 'y'],
        ],
        [1],
      ),
    ).toBe('a       \x1b[31m1\x1b[39m  x\nlong  100  y\n')
  })
})

describe('the command line', () => {
  test('unknown commands get a suggestion and what to do', async () => {
    const { code, err } = await run(['repaly', 'x'])
    expect(code).toBe(1)
    expect(err).toMatch(/^usage: There is no command repaly\. Did you mean replay\?\n {2}What to do next: /)
  })

  test('help lists every command, and each has its own', async () => {
    const { out } = await run(['help'])
    for (const name of ['start', 'replay', 'segments', 'status', 'tail']) {
      expect(out).toContain(`tributary ${name} `)
      const own = await run([name, '--help'])
      expect(own.code).toBe(0)
      expect(own.out).toContain(`tributary ${name} `)
      expect((await run(['help', name])).out).toBe(own.out)
    }
  })

  test('--version prints the version of the package', async () => {
    expect(await run(['--version'])).toEqual({ code: 0, out: expect.stringMatching(/^\d+\.\d+\.\d+\n$/), err: '' })
  })

  test('flags alone are those of start', async () => {
    const { code, err } = await run(['--prot', '1'])
    expect(code).toBe(1)
    expect(err).toContain('invalid_config: --prot is no option. Did you mean port?')
    expect(err).toContain('What to do next:')
  })

  test('where no server answers, the error says how to start one', async () => {
    for (const argv of [['status'], ['tail'], ['segments', 'list']]) {
      const { code, err } = await run(argv, { url: 'http://127.0.0.1:1' })
      expect(code).toBe(1)
      expect(err).toMatch(/^cannot_connect: No server answers at http:\/\/127\.0\.0\.1:1\./)
      expect(err).toContain('What to do next: Start the server')
    }
  })

  test('a URL is checked before anything is sent', async () => {
    expect((await run(['status', '--url', 'localhost:8080'])).err).toContain('"localhost:8080" is no URL')
  })
})
