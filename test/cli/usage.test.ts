/** Wrong usage: exit code 2, the nearest thing that exists, and the same as an object with --json. */
import { spawn } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import { collect, runCli } from '../support/cli.ts'

describe('wrong usage', () => {
  it.each([
    [['statsu'], /unknown command 'statsu'\nHINT: Did you mean status\?/],
    [['up', '--node', '3'], /unknown option '--node'\nHINT: Did you mean --nodes\?/],
    [['up', '--nodes', 'three'], /'three' is invalid.* 1 to 7/],
    [['up', '--nodes', '8'], /'8' is invalid/],
    [['up', '--durability', 'maybe'], /quorum, async/],
    [['up', '--rto', '3'], /'3' is invalid.*3s/],
    [['up', '--port-base', '65500'], /'65500' is invalid/],
    [['up', '--data', ''], /is empty/],
    [['status', 'alpha'], /too many arguments/],
    [['status', '--json', '--watch'], /cannot be used with/],
    [['status', '--data', 'x', '--config', 'y'], /cannot be used with/],
    [['--json', 'status'], /Write --json after the command/],
    [['events', '--limit', '-1'], /invalid/],
    [['agent', '--node', 'alpha'], /'--config <file>' not specified/],
    [['completion', 'bsh'], /Did you mean bash\?/],
  ])('%j is refused with a hint', async (args, words) => {
    const result = await runCli(args)
    expect(result.code).toBe(2)
    if (args.includes('--json')) expect(JSON.parse(result.stdout).error.code).toBe('usage')
    const said = args.includes('--json') ? result.stdout.replaceAll('\\n', '\n') : result.stderr
    expect(said).toMatch(words)
    if (!args.includes('--json')) expect(result.stderr).toMatch(/^error usage: .*\nHINT: .+\n$/)
  })

  it('prints the error as an object with --json', async () => {
    const result = await runCli(['status', '--json', '--jsno'])
    expect(result).toMatchObject({ code: 2, stderr: '' })
    expect(JSON.parse(result.stdout)).toEqual({
      error: { code: 'usage', message: "unknown option '--jsno'", hint: expect.stringContaining('--json') },
    })
  })

  it('shows the help on standard error when no command is given', async () => {
    const result = await runCli([])
    expect(result).toMatchObject({ code: 2, stdout: '' })
    expect(result.stderr).toContain('Commands:')
  })
})

describe('help and version', () => {
  it('of each command has an example, and hides what is not for people', async () => {
    const { stdout, code } = await runCli(['--help'])
    expect(code).toBe(0)
    expect(stdout).not.toMatch(/^ {2}(store|supervise) /m)
    const commands = [...stdout.matchAll(/^ {2}(\w+) .*/gm)].map((match) => match[1] ?? '')
    const listed = commands.slice(commands.indexOf('up'), commands.indexOf('help'))
    expect(listed).toEqual(
      expect.arrayContaining(['up', 'down', 'status', 'url', 'psql', 'why', 'events', 'doctor', 'agent']),
    )
    const helps = await Promise.all(listed.map((command) => runCli([command, '--help'])))
    for (const help of helps) {
      expect(help.code).toBe(0)
      expect(help.stdout).toMatch(/\nExample:\n {2}\S/)
    }
  })

  it('prints the version of package.json', async () => {
    const manifest = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8'))
    expect((await runCli(['--version'])).stdout).toBe(`${manifest.version}\n`)
  })
})

describe('completion', () => {
  it('is a script that bash accepts and that completes commands, flags and values', async () => {
    const { stdout } = await runCli(['completion', 'bash'])
    const complete = async (...words: string[]): Promise<string[]> => {
      const program = `${stdout}\nCOMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')})\nCOMP_CWORD=${words.length - 1}\n_understudy\nprintf '%s\\n' "\${COMPREPLY[@]}"`
      const result = await collect(spawn('bash', ['-c', program]))
      expect(result.stderr).toBe('')
      return result.stdout.trim().split('\n')
    }
    expect(await complete('understudy', 'st')).toEqual(['status'])
    expect(await complete('understudy', 'status', '--w')).toEqual(['--watch'])
    expect(await complete('understudy', 'up', '--durability', '')).toEqual(['quorum', 'async'])
    expect(await complete('understudy', 'url', 'read')).toEqual(['read-write', 'read-only'])
    expect(await complete('understudy', 'up', '--nodes', '')).toEqual([''])
  })
})
