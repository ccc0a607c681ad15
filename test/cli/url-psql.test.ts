/** `url` and `psql`: what libpq and node's pg make of the URI, and that no password is seen by anybody else. */
import { execFile } from 'node:child_process'
import { chmod, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import pg from 'pg'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { findPsql } from '../../src/cli/find-psql.ts'
import { collect, runCli, startCli } from '../support/cli.ts'
import { AWKWARD_PASSWORD, type FakeCluster, startFakeCluster } from '../support/fake-cluster.ts'

let cluster: FakeCluster
beforeEach(async () => {
  cluster = await startFakeCluster({ postgresPorts: [6401, 6402, 6403] })
})
afterEach(() => cluster.stop())

const caFile = (): string => path.join(cluster.directory, 'tls', 'ca.crt')
const url = async (...args: string[]): Promise<string> => {
  const result = await runCli(['url', ...args, '--data', cluster.directory])
  expect(result.stderr).toBe('')
  expect(result.code).toBe(0)
  expect(result.stdout).toMatch(/^\S+\n$/)
  return result.stdout.trim()
}

describe('url', () => {
  it('names every node and asks for the one that takes writes', async () => {
    const text = await url()
    expect(text).toContain('@127.0.0.1:6401,127.0.0.1:6402,127.0.0.1:6403/app?')
    expect(text).toContain('target_session_attrs=read-write')
    expect(text).toContain('sslmode=verify-full')
    expect(await url('read-write')).toBe(text)
    expect(await url('read-only')).toBe(text.replace('read-write', 'prefer-standby'))
  })

  it('of one node is read by node’s pg, with every character of the password', async () => {
    await writeFile(caFile(), '-----BEGIN CERTIFICATE-----\n')
    const client = new pg.Client({ connectionString: await url('bravo') })
    expect(client).toMatchObject({
      host: '127.0.0.1',
      port: 6402,
      user: 'app',
      database: 'app',
      password: AWKWARD_PASSWORD,
      ssl: { ca: '-----BEGIN CERTIFICATE-----\n' },
    })
  })

  it('leaves the password out when asked to, and takes the superuser', async () => {
    expect(await url('bravo', '--no-password')).toMatch(/^postgresql:\/\/app@127\.0\.0\.1:6402\/app\?/)
    expect(await url('bravo', '--superuser')).toMatch(/^postgresql:\/\/postgres:[^@]+@/)
  })

  it('suggests the node that was meant', async () => {
    const result = await runCli(['url', 'barvo', '--data', cluster.directory])
    expect(result.code).toBe(1)
    expect(result.stderr).toContain('did you mean bravo?')
    expect(result.stdout).toBe('')
  })

  it('says what to do when the password file is gone', async () => {
    await rm(path.join(cluster.directory, 'secrets', 'application'))
    const result = await runCli(['url', '--data', cluster.directory])
    expect(result.code).toBe(1)
    expect(result.stderr).toMatch(/^error not-found: the password file .*\nHINT: /)
  })
})

const psql = await findPsql({ configured: null, searchPath: process.env['PATH'] ?? '' })

describe.skipIf(psql === null)('libpq (needs psql: apt install postgresql-client)', () => {
  let server: Server
  let attempts: number
  let port: number
  beforeEach(async () => {
    attempts = 0
    server = createServer((socket) => {
      attempts++
      // SSLRequest refused: verify-full must then give up instead of going on in clear.
      socket.once('data', () => socket.end('N'))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    port = (server.address() as { port: number }).port
    await cluster.stop()
    cluster = await startFakeCluster({ postgresPorts: [1, 2, port] })
    await writeFile(caFile(), await anyCertificate())
  })
  afterEach(() => new Promise((resolve) => server.close(resolve)))

  it('tries every host of the URI and insists on TLS', async () => {
    const failure = await promisify(execFile)(psql ?? '', [await url(), '-c', 'select 1']).then(
      () => 'connected',
      (error: { stderr: string }) => error.stderr,
    )
    expect(failure).toContain('server does not support SSL, but SSL was required')
    // Nothing listens at the first two.
    expect(failure.match(/Connection refused/g)).toHaveLength(2)
    expect(attempts).toBe(1)
  })

  it('is given the same by the psql command, and its exit code comes back', async () => {
    const result = await runCli(['psql', '--data', cluster.directory, '--', '-c', 'select 1'])
    expect(result.stderr).toContain('server does not support SSL, but SSL was required')
    expect(result.code).toBe(2)
    // Nothing listens at the first two.
    expect(result.stderr.match(/Connection refused/g)).toHaveLength(2)
    expect(attempts).toBe(1)
  })
})

async function anyCertificate(): Promise<string> {
  const args = 'req -x509 -newkey rsa:2048 -nodes -subj /CN=x -days 1 -keyout /dev/null'.split(' ')
  return (await promisify(execFile)('openssl', args)).stdout
}

describe('psql', () => {
  /** A psql that tells what it was given; found because the PATH begins with its directory. */
  async function fakePsql(script: string): Promise<string> {
    const directory = path.join(cluster.directory, 'bin')
    await mkdir(directory, { recursive: true })
    await writeFile(path.join(directory, 'psql'), `#!/bin/sh\n${script}\n`)
    await chmod(path.join(directory, 'psql'), 0o755)
    return `${directory}:${process.env['PATH']}`
  }

  it('gives the password by a private file that is gone afterwards, and nothing in arguments or environment', async () => {
    const PATH = await fakePsql(
      'echo "args: $*"; env | grep ^PG; stat -c "mode: %a" "$PGPASSFILE"; cat "$PGPASSFILE"; exit 7',
    )
    const result = await runCli(
      ['psql', 'read-only', '--data', cluster.directory, '--', '-c', 'select 1', '--', 'x'],
      {
        env: { PATH, PGPASSWORD: 'of another server', PGHOSTADDR: '10.0.0.1', PGSERVICE: 'other' },
      },
    )
    expect(result.code).toBe(7)
    const lines = result.stdout.trim().split('\n')
    expect(lines[0]).toBe('args: -c select 1 -- x')
    expect(lines).toContain('PGHOST=127.0.0.1,127.0.0.1,127.0.0.1')
    expect(lines).toContain('PGPORT=6401,6402,6403')
    expect(lines).toContain('PGTARGETSESSIONATTRS=prefer-standby')
    expect(lines).toContain('PGSSLMODE=verify-full')
    expect(lines).toContain('mode: 600')
    expect(lines.at(-1)).toBe(`*:*:*:app:${AWKWARD_PASSWORD.replace(/[\\:]/g, '\\$&')}`)
    const environment = lines.filter((line) => line.startsWith('PG')).join('\n')
    expect(environment).not.toMatch(/PGPASSWORD|PGHOSTADDR|PGSERVICE|w\/o\?r/)
    const passFile = lines.find((line) => line.startsWith('PGPASSFILE='))?.slice('PGPASSFILE='.length) ?? ''
    await expect(readFile(passFile)).rejects.toThrow('ENOENT')
  })

  it('goes to one node when it is named, whatever its role is', async () => {
    const PATH = await fakePsql('env | grep ^PG')
    const result = await runCli(['psql', 'charlie', '--superuser', '--data', cluster.directory], {
      env: { PATH },
    })
    expect(result.stdout).toContain('PGPORT=6403\n')
    expect(result.stdout).toContain('PGUSER=postgres\n')
    expect(result.stdout).not.toContain('PGTARGETSESSIONATTRS')
  })

  it('outlives Ctrl-C, which is psql’s, and removes the password after SIGTERM too', async () => {
    const before = await passDirectories()
    const PATH = await fakePsql("trap 'echo interrupted' INT; echo ready; while :; do sleep 0.05; done")
    const child = startCli(['psql', '--data', cluster.directory], { env: { PATH } })
    const result = collect(child)
    await new Promise<void>((resolve) => child.stdout?.once('data', () => resolve()))
    child.kill('SIGINT')
    await new Promise((resolve) => setTimeout(resolve, 200))
    expect(child.exitCode).toBeNull()
    child.kill('SIGTERM')
    expect((await result).code).toBe(143)
    expect(await passDirectories()).toEqual(before)
  })

  it('says what to install when there is none', async () => {
    const result = await runCli(['psql', '--data', cluster.directory], { env: { PATH: '/nonexistent' } })
    // Packaged directories are looked at too, so this machine may have one.
    if (psql === null)
      expect(result.stderr).toMatch(/^error no-psql: .*\nHINT: .*apt install postgresql-client/)
    else expect(result.code).toBe(2)
  })

  it('explains where its arguments go', async () => {
    const result = await runCli(['psql', '--data', cluster.directory, '-c', 'select 1'])
    expect(result.code).toBe(2)
    expect(result.stderr).toContain('after --')
  })
})

async function passDirectories(): Promise<string[]> {
  return (await readdir(tmpdir())).filter((name) => name.startsWith('understudy-psql-'))
}
