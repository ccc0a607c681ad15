/** The primary that base backups are measured against: PostgreSQL from the system's packages, TLS, SCRAM, some gigabytes. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { scramVerifier } from '../../src/protocol/scram.ts'

export interface RunAs {
  readonly uid: number
  readonly gid: number
}

export interface BenchPrimary {
  readonly binDirectory: string
  readonly port: number
  readonly caFile: string
  readonly passfile: string
  readonly dataBytes: number
  readonly user: string
  readonly environment: NodeJS.ProcessEnv
  readonly runAs: RunAs | null
  /**
   * Reads every file of the data directory, so that each run finds it in the page cache: else the first of two runs pays for the
   * disk, and a machine that gives memory back while it idles lets any of them pay.
   */
  warm(): void
  stop(): Promise<void>
}

export const REPLICATION_USER = 'understudy_bench'
const PASSWORD = 'bench-only-password'
/** One unit of pgbench's scale is about 15 MB. */
const SCALE_PER_GB = 68

/** PostgreSQL refuses to run as root; null for an ordinary user. */
export function postgresUser(): RunAs | null {
  if (process.getuid?.() !== 0) return null
  const id = (flag: string): number => Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' }))
  return { uid: id('-u'), gid: id('-g') }
}

/** `directory` exists, and the user that runs PostgreSQL may write to it. */
export async function startBenchPrimary(options: {
  readonly directory: string
  readonly major: number
  readonly sizeGb: number
  readonly extraFiles: number
}): Promise<BenchPrimary> {
  const { directory } = options
  const binDirectory = `/usr/lib/postgresql/${options.major}/bin`
  if (!existsSync(join(binDirectory, 'pg_basebackup'))) {
    throw new Error(`${binDirectory} has no pg_basebackup: apt install postgresql-${options.major}`)
  }
  const runAs = postgresUser()
  const environment = { ...process.env, HOME: directory, LC_ALL: 'C.UTF-8' }
  const run = (command: string, args: readonly string[]): string =>
    execFileSync(command, args, {
      encoding: 'utf8',
      env: environment,
      cwd: directory,
      stdio: ['ignore', 'pipe', 'pipe'],
      ...(runAs ?? {}),
    })
  const data = join(directory, 'primary')
  run(join(binDirectory, 'initdb'), [
    '-D',
    data,
    '-U',
    'postgres',
    '-E',
    'UTF8',
    '--locale=C.UTF-8',
    '-k',
    '--auth=trust',
  ])
  const caFile = makeCertificates(join(directory, 'tls'), data, run)
  const port = await freePort()
  configure(data, directory, port)
  const child = await startPostgres(join(binDirectory, 'postgres'), data, { environment, runAs })
  const psql = (sql: string): string =>
    run(join(binDirectory, 'psql'), [
      '-X',
      '-A',
      '-t',
      '-q',
      '-h',
      directory,
      '-p',
      String(port),
      '-U',
      'postgres',
      '-c',
      sql,
    ])
  psql(
    `CREATE ROLE ${REPLICATION_USER} REPLICATION LOGIN PASSWORD '${scramVerifier({ password: PASSWORD })}'`,
  )
  const scale = String(Math.ceil(options.sizeGb * SCALE_PER_GB))
  const target = ['-h', directory, '-p', String(port), '-U', 'postgres']
  run(join(binDirectory, 'pgbench'), ['-i', '-q', '-I', 'dtGvp', '-s', scale, ...target, 'postgres'])
  if (options.extraFiles > 0) {
    psql(`DO $$BEGIN FOR i IN 1..${options.extraFiles} LOOP
      EXECUTE format('CREATE TABLE small_%s AS SELECT 1 AS i', i); END LOOP; END$$`)
  }
  psql('CHECKPOINT')
  const passfile = join(directory, 'passfile')
  writeFileSync(passfile, `*:*:*:${REPLICATION_USER}:${PASSWORD}\n`, { mode: 0o600 })
  chown(passfile, runAs)
  return {
    binDirectory,
    port,
    caFile,
    passfile,
    dataBytes: Number(psql('SELECT sum(pg_database_size(oid)) FROM pg_database')),
    user: REPLICATION_USER,
    environment,
    runAs,
    warm: () => {
      execFileSync('sh', ['-c', 'find "$1" -type f -exec cat {} + > /dev/null', 'warm', data])
    },
    stop: () => stopPostgres(child),
  }
}

export function chown(path: string, runAs: RunAs | null): void {
  if (runAs !== null) execFileSync('chown', ['-R', `${runAs.uid}:${runAs.gid}`, path])
}

function configure(data: string, socketDirectory: string, port: number): void {
  appendFileSync(
    join(data, 'postgresql.conf'),
    [
      `port = ${port}`,
      "listen_addresses = '127.0.0.1'",
      `unix_socket_directories = '${socketDirectory}'`,
      'ssl = on',
      'wal_level = replica',
      'max_wal_size = 4GB',
      'autovacuum = off',
      '',
    ].join('\n'),
  )
  const hba = ['local all all trust', 'hostssl replication all 127.0.0.1/32 scram-sha-256', '']
  writeFileSync(join(data, 'pg_hba.conf'), hba.join('\n'))
}

/** A CA and a server certificate for 127.0.0.1; gives the CA's file. */
function makeCertificates(
  directory: string,
  data: string,
  run: (command: string, args: readonly string[]) => string,
): string {
  mkdirSync(directory, { recursive: true })
  chown(directory, postgresUser())
  const path = (name: string): string => join(directory, name)
  for (const name of ['ca', 'server']) {
    run('openssl', ['ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', path(`${name}.key`)])
  }
  run('openssl', [
    'req',
    '-x509',
    '-new',
    '-key',
    path('ca.key'),
    '-subj',
    '/CN=bench',
    '-days',
    '2',
    '-out',
    path('ca.crt'),
  ])
  run('openssl', [
    'req',
    '-new',
    '-key',
    path('server.key'),
    '-subj',
    '/CN=server',
    '-out',
    path('server.csr'),
  ])
  writeFileSync(path('ext'), 'subjectAltName=IP:127.0.0.1\n')
  const sign = [
    'x509',
    '-req',
    '-in',
    path('server.csr'),
    '-CA',
    path('ca.crt'),
    '-CAkey',
    path('ca.key'),
    '-CAcreateserial',
  ]
  run('openssl', [...sign, '-extfile', path('ext'), '-days', '2', '-out', join(data, 'server.crt')])
  run('cp', [path('server.key'), join(data, 'server.key')])
  chmodSync(join(data, 'server.key'), 0o600)
  return path('ca.crt')
}

async function startPostgres(
  binary: string,
  data: string,
  options: { readonly environment: NodeJS.ProcessEnv; readonly runAs: RunAs | null },
): Promise<ChildProcess> {
  const log = openSync(`${data}.log`, 'a')
  const child = spawn(binary, ['-D', data], {
    stdio: ['ignore', log, log],
    env: options.environment,
    ...(options.runAs ?? {}),
  })
  process.once('exit', () => child.kill('SIGQUIT'))
  for (let waitedMs = 0; !isReady(data); waitedMs += 100) {
    if (child.exitCode !== null || waitedMs > 60_000) {
      throw new Error(`the primary did not start:\n${readFileSync(`${data}.log`, 'utf8')}`)
    }
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  return child
}

function isReady(data: string): boolean {
  const file = join(data, 'postmaster.pid')
  return existsSync(file) && (readFileSync(file, 'utf8').split('\n')[7] ?? '').startsWith('ready')
}

async function stopPostgres(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return
  const ended = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGINT')
  await ended
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  if (address === null || typeof address === 'string') throw new Error('no free port')
  return address.port
}
