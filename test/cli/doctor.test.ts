/** `doctor` on this machine: what is well here, and each thing that a test can break. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { runCli } from '../support/cli.ts'
import { startFakeCluster } from '../support/fake-cluster.ts'

interface Report {
  readonly ok: boolean
  readonly checks: readonly {
    readonly id: string
    readonly status: string
    readonly message: string
    readonly hint: string | null
  }[]
}

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'understudy-doctor-test-'))
})
afterEach(() => rm(directory, { recursive: true, force: true }))

async function examine(
  ...args: string[]
): Promise<{ readonly code: number | null; readonly report: Report }> {
  const result = await runCli(['doctor', '--json', ...args])
  expect(result.stderr).toBe('')
  return { code: result.code, report: JSON.parse(result.stdout) as Report }
}

function finding(report: Report, id: string): Report['checks'][number] | undefined {
  return report.checks.find((each) => each.id === id)
}

describe('doctor', () => {
  it('has one finding per check, a hint for each that is not ok, and an exit code that agrees', async () => {
    const { code, report } = await examine('--data', path.join(directory, 'new'), '--port-base', '42500')
    expect(report.checks.map(({ id }) => id)).toEqual([
      'node',
      'postgres',
      'openssl',
      'locale',
      'files',
      'shared-memory',
      'clock',
      'cluster',
      'user',
      'directory',
      'space',
      'socket-path',
      'certificates',
      'ports',
      'processes',
    ])
    for (const each of report.checks) expect(each.hint === null).toBe(each.status === 'ok')
    expect(report.ok).toBe(!report.checks.some(({ status }) => status === 'failed'))
    expect(code).toBe(report.ok ? 0 : 3)
  })

  it('names a port that is taken and the process that has it', async () => {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    const { code, report } = await examine('--data', directory, '--port-base', String(port - 1))
    server.close()
    expect(code).toBe(3)
    expect(finding(report, 'ports')?.message).toContain(
      `${port} (PostgreSQL of alpha) is used by process ${process.pid}`,
    )
  })

  it('refuses a directory with other things in it, and changes nothing there', async () => {
    await writeFile(path.join(directory, 'photo.jpg'), 'x')
    const { code, report } = await examine('--data', directory)
    expect(code).toBe(3)
    expect(finding(report, 'directory')).toMatchObject({
      status: 'failed',
      message: expect.stringContaining('photo.jpg'),
    })
  })

  it('reports a PostgreSQL that was asked for and is not there', async () => {
    await mkdir(path.join(directory, 'empty'))
    const { code, report } = await examine(
      '--data',
      path.join(directory, 'new'),
      '--pg',
      path.join(directory, 'empty'),
    )
    expect(code).toBe(3)
    expect(finding(report, 'postgres')).toMatchObject({
      status: 'failed',
      hint: expect.stringContaining('postgresql'),
    })
  })

  it('reports a broken configuration as a finding, with its line', async () => {
    const cluster = await startFakeCluster()
    try {
      await writeFile(path.join(cluster.directory, 'understudy.yaml'), 'cluster: main\nnods: {}\n')
      const { code, report } = await examine('--data', cluster.directory)
      expect(code).toBe(3)
      expect(finding(report, 'cluster')).toMatchObject({
        status: 'failed',
        message: expect.stringContaining('yaml:'),
      })
    } finally {
      await cluster.stop()
    }
  })

  it('prints a table for people', async () => {
    const result = await runCli(['doctor', '--data', path.join(directory, 'new')])
    expect(result.stdout).toMatch(/^[✓!✗] Node\.js +v\d+/)
    expect(result.stdout).toMatch(/\n\d+ ok, \d+ warnings?, \d+ failed\n$/)
  })
})
