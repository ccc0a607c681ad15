/** `understudy config` as a person runs it, with a real PostgreSQL judging the parameters. */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type CliResult, runCli } from '../support/cli.ts'
import { findInstalls } from '../support/postgres-installs.ts'

const directory = mkdtempSync(path.join(tmpdir(), 'understudy-config-test-'))
const file = path.join(directory, 'understudy.yaml')
afterAll(() => rmSync(directory, { recursive: true, force: true }))

function configuration(postgres: string): void {
  writeFileSync(
    file,
    `store: { endpoints: [https://10.0.0.1:2379] }
postgres:
${postgres}
nodes:
  alpha: { host: 10.0.0.1 }
  bravo: { host: 10.0.0.2 }
  charlie: { host: 10.0.0.3 }
`,
  )
}

const config = (...args: readonly string[]): Promise<CliResult> =>
  runCli(['config', ...args, '--config', file])

for (const install of findInstalls()) {
  describe(`config validate with PostgreSQL ${install.major}`, () => {
    const binaries = `  binaries: ${JSON.stringify(install.binDirectory)}\n`

    it('finds a name that PostgreSQL does not know, a value that it cannot read, and what is left out', async () => {
      configuration(`${binaries}  parameters:
    work_mem: 64MB
    wrok_mem: 64MB
    shared_buffers: plenty
    wal_level: minimal
    my_extension.answer: 42
  hba: ["hostssl all all 10.0.0.0/8 scram-sha-256", "allow everybody"]`)
      const result = await config('validate', '--json')
      expect(result.code).toBe(1)
      const { valid, findings, unchecked } = JSON.parse(result.stdout)
      expect({ valid, unchecked }).toEqual({ valid: false, unchecked: [] })
      expect(findings).toEqual([
        {
          severity: 'error',
          line: 6,
          key: 'postgres.parameters.wrok_mem',
          message: expect.stringMatching(/does not know it.*did you mean work_mem\?/),
        },
        {
          severity: 'error',
          line: 7,
          key: 'postgres.parameters.shared_buffers',
          message: expect.stringContaining('would not start: invalid value'),
        },
        {
          severity: 'warning',
          line: 8,
          key: 'postgres.parameters.wal_level',
          message: expect.stringContaining('left out'),
        },
        {
          severity: 'warning',
          line: 10,
          key: 'postgres.hba.1',
          message: expect.stringContaining('left out'),
        },
      ])
    })

    it('takes what PostgreSQL takes, and leaves no file behind', async () => {
      configuration(
        `${binaries}  parameters: { work_mem: 64MB, log_min_duration_statement: 250ms, my.own: x }`,
      )
      const before = readdirSync(tmpdir()).filter((name) => name.startsWith('understudy-parameters-'))
      const result = await config('validate')
      expect(result).toMatchObject({ code: 0, stdout: `${file}: valid\n`, stderr: '' })
      const after = readdirSync(tmpdir()).filter((name) => name.startsWith('understudy-parameters-'))
      expect(after.filter((name) => !before.includes(name))).toEqual([])
    })
  })
}

describe('config', () => {
  beforeAll(() => configuration('  parameters: { work_mem: 64MB }'))

  it('show prints every key with its origin; --json the configuration itself', async () => {
    const { stdout, code } = await config('show')
    expect(code).toBe(0)
    expect(stdout).toMatch(/^nodes\.alpha\.port: 5432 +# default$/m)
    expect(stdout).toMatch(/^nodes\.bravo\.host: 10\.0\.0\.2 +# line 6$/m)
    const shown = JSON.parse((await config('show', '--json', '--node', 'bravo')).stdout)
    expect(shown.config).toMatchObject({ rto: '3s', nodes: { bravo: { port: 5432, listen: ['10.0.0.2'] } } })
    expect(Object.keys(shown.config.nodes)).toEqual(['bravo'])
    expect(shown.origins).toMatchObject({ rto: 'default', 'nodes.bravo.host': 'line 6' })
  })

  it('explain narrows to a name, and suggests one that exists', async () => {
    const some = JSON.parse((await config('explain', 'sender', '--node', 'alpha', '--json')).stdout)
    const names = some.nodes[0].groups.flatMap((group: { settings: { name: string }[] }) =>
      group.settings.map(({ name }) => name),
    )
    expect(names).toEqual(['max_wal_senders', 'wal_sender_timeout'])
    const none = await config('explain', 'wal_reciever_timeout')
    expect(none).toMatchObject({ code: 2, stdout: '' })
    expect(none.stderr).toContain('Did you mean wal_receiver_timeout?')
  })

  it('prints the schema without a cluster', async () => {
    const { stdout, code } = await runCli(['config', 'schema'])
    expect(code).toBe(0)
    expect(JSON.parse(stdout)).toMatchObject({ properties: { rto: { default: '3s' } } })
  })

  it.each([
    [['frobnicate'], 2, /validate, show, explain, schema/],
    [['show', '--node', 'brovo'], 1, /error unknown-node:.*did you mean bravo\?/],
  ])('%j is refused', async (args, code, words) => {
    const result = await config(...args)
    expect(result.code).toBe(code)
    expect(result.stderr).toMatch(words)
  })

  it('says where there is no configuration', async () => {
    const result = await runCli(['config', 'validate', '--config', path.join(directory, 'none.yaml')])
    expect(result).toMatchObject({ code: 1, stdout: '' })
    expect(result.stderr).toMatch(/error not-found: there is no configuration file .*none\.yaml\nHINT/)
  })
})
