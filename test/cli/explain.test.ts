/** `up --explain` and `agent --explain` on the command line: what they take, and that they make nothing. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ensureBuilt } from '../support/built.ts'
import { runCli } from '../support/cli.ts'
import { splitScript } from '../support/hand.ts'

let directory = ''
beforeAll(() => {
  ensureBuilt()
  directory = mkdtempSync(path.join(tmpdir(), 'understudy-explain-'))
})
afterAll(() => rmSync(directory, { recursive: true, force: true }))

const SERVERS = ['--on', 'alpha=10.0.0.1,bravo=10.0.0.2']

describe('up --explain', () => {
  test('prints the set-up of a local cluster and makes nothing', async () => {
    const data = path.join(directory, 'none')
    const { code, stdout } = await runCli(['up', '--explain', '--data', data, '--nodes', '2'])
    expect(code).toBe(0)
    expect(new Set(splitScript(stdout).map(({ on }) => on))).toEqual(new Set(['alpha', 'bravo']))
    expect(stdout).toContain("port = '5501'")
    expect(existsSync(data)).toBe(false)
  })

  test('as data has the same parts', async () => {
    const text = await runCli(['up', '--explain', ...SERVERS])
    const json = await runCli(['up', '--explain', ...SERVERS, '--json'])
    const data = JSON.parse(json.stdout) as { primary: string; sections: { title: string; shell: string }[] }
    expect(data.primary).toBe('alpha')
    expect(data.sections.map(({ title }) => title)).toEqual(
      splitScript(text.stdout).map(({ title }) => title),
    )
    for (const { shell } of data.sections) expect(text.stdout).toContain(shell)
  })

  test.each([
    [['--on', 'alpha=10.0.0.1'], 'usage'],
    [['--explain', '--on', 'alpha'], 'usage'],
    [['--explain', '--on', 'alpha=10.0.0.1,alpha=10.0.0.2'], 'usage'],
    [['--explain', ...SERVERS, '--nodes', '2'], 'usage'],
    [['--explain', '--detach'], 'usage'],
    [['--explain', '--pg', '9'], 'unsupported-version'],
  ])('refuses %j as %s', async (args, code) => {
    const { stdout, stderr } = await runCli(['up', ...args])
    expect(stdout).toBe('')
    expect(stderr).toMatch(new RegExp(`^error ${code}: .*\nHINT: .`))
  })
})

describe('agent --explain', () => {
  const configured = (): string => {
    const file = path.join(directory, 'understudy.yaml')
    const nodes = '{ alpha: { host: 10.0.0.1 }, bravo: { host: 10.0.0.2 } }'
    writeFileSync(file, `cluster: shop\nstore: { endpoints: [http://10.0.0.9:2379] }\nnodes: ${nodes}\n`)
    return file
  }

  test('prints the parts of every server, or of one', async () => {
    const config = configured()
    const whole = splitScript((await runCli(['agent', '--explain', '--config', config])).stdout)
    const own = splitScript(
      (await runCli(['agent', '--explain', '--config', config, '--node', 'bravo'])).stdout,
    )
    expect(own).toEqual(whole.filter(({ on }) => on === 'bravo'))
    expect(own.length).toBeGreaterThan(4)
    expect(own.find(({ title }) => title === 'the standby’s settings')?.text).toContain(
      '/var/lib/understudy/shop/bravo',
    )
  })

  test.each([
    [['--explain', '--node', 'bravoo'], 'unknown-node'],
    [['--json'], 'usage'],
  ])('refuses %j as %s', async (args, code) => {
    const { stdout, stderr } = await runCli(['agent', '--config', configured(), ...args])
    expect(`${stdout}${stderr}`).toContain(code)
  })
})
