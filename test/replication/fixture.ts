/** A primary with TLS and a replication user, and what the tests of clones do with it. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type pg from 'pg'
import { expect } from 'vitest'
import { UnderstudyError } from '../../src/errors/codes.ts'
import { scramVerifier } from '../../src/protocol/scram.ts'
import { takeBaseBackup } from '../../src/replication/base-backup.ts'
import type { BaseBackupOptions, BaseBackupResult } from '../../src/replication/base-backup-options.ts'
import type { ReplicationConnectionOptions } from '../../src/replication/connection.ts'
import { issueCertificate, makeCa, type TestCa } from '../support/certificates.ts'
import { installOf } from '../support/postgres-installs.ts'
import {
  giveToServerUser,
  makeWorkspace,
  type ServerOptions,
  startPrimary,
  startStandby,
  type TestServer,
} from '../support/postgres-server.ts'

export const REPLICATION_USER = 'copier'
/** Not ASCII, so that SASLprep has something to do. */
export const PASSWORD = 'Pässwörd ½'

export interface Fixture {
  readonly major: number
  readonly workspace: string
  readonly ca: TestCa
  readonly primary: TestServer
  /** Of a passfile with the right password. */
  readonly passfile: string
  readonly connection: ReplicationConnectionOptions
  /** Starts a server on a directory of the workspace that a clone made. */
  startCopy(name: string, upstream?: TestServer): Promise<TestServer>
  /** Stops every server and removes everything. */
  end(): Promise<void>
}

export async function makeFixture(
  label: string,
  major: number,
  options: Pick<ServerOptions, 'configuration' | 'initdbArguments'> & { readonly tls?: boolean } = {},
): Promise<Fixture> {
  const workspace = makeWorkspace(label)
  const ca = makeCa(join(workspace.path, 'ca'))
  const install = installOf(major)
  const certificate = issueCertificate(ca, 'server', { names: ['DNS:localhost', 'IP:127.0.0.1'] })
  const { tls = true, ...server } = options
  const primary = await startPrimary({
    install,
    workspace: workspace.path,
    name: 'primary',
    ...(tls ? { certificate } : {}),
    ...server,
  })
  await primary.sql(
    `CREATE ROLE ${REPLICATION_USER} REPLICATION LOGIN PASSWORD '${scramVerifier({ password: PASSWORD })}'`,
  )
  const passfile = join(workspace.path, 'passfile')
  writeFileSync(passfile, `*:*:replication:${REPLICATION_USER}:${PASSWORD}\n`, { mode: 0o600 })
  giveToServerUser(passfile)
  const servers = [primary]
  return {
    major,
    workspace: workspace.path,
    ca,
    primary,
    passfile,
    connection: {
      address: { host: '127.0.0.1', port: primary.port },
      user: REPLICATION_USER,
      passwordFrom: passfile,
      tls: tls ? { mode: 'verify-full', caPem: ca.caPem } : { mode: 'disable' },
      applicationName: 'understudy_test',
      replication: 'physical',
    },
    startCopy: async (name, upstream = primary) => {
      const conninfo = `host=${workspace.path} port=${upstream.port} user=${REPLICATION_USER}`
      const copy = await startStandby({ install, workspace: workspace.path, name, primaryConninfo: conninfo })
      servers.push(copy)
      return copy
    },
    end: async () => {
      for (const server of servers.reverse()) await server.stop()
      workspace.remove()
    },
  }
}

/** A base backup in this process, into `name` of the workspace. */
export function backup(
  fixture: Fixture,
  name: string,
  options: Partial<BaseBackupOptions> = {},
): Promise<BaseBackupResult> {
  const { replication: _, ...connection } = fixture.connection
  return takeBaseBackup({
    connection,
    targetDirectory: join(fixture.workspace, name),
    finalFiles: [
      { name: 'postgresql.auto.conf', content: '# ours\n' },
      { name: 'standby.signal', content: '' },
    ],
    ...options,
  })
}

/** The failure that `promise` ends with; the test fails when it does not. */
export async function failureOf(promise: Promise<unknown>): Promise<UnderstudyError> {
  const outcome = await promise.then(
    () => 'it succeeded',
    (error: unknown) => error,
  )
  expect(outcome).toBeInstanceOf(UnderstudyError)
  return outcome as UnderstudyError
}

/** Waits until `check` is true; fails with `what` after half a minute, which a busy machine may need. */
export async function until(what: string, check: () => Promise<boolean> | boolean): Promise<void> {
  const deadline = Date.now() + 30_000
  while (!(await check())) {
    if (Date.now() > deadline) throw new Error(`in vain: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 25))
  }
}

/** Waits until the standby has replayed everything that the primary has written by now. */
export async function untilCaughtUp(primary: TestServer, standby: TestServer): Promise<void> {
  const [now] = await primary.sql('SELECT pg_current_wal_lsn()::text AS lsn')
  await until('the standby catches up', async () => {
    const [row] = await standby.sql('SELECT pg_last_wal_replay_lsn() >= $1::pg_lsn AS done', [now?.['lsn']])
    return row?.['done'] === true
  })
}

/** One number for the content of the tables that the tests write to. */
export async function contentOf(server: TestServer): Promise<unknown> {
  const rows = await server.sql(`
    SELECT 'filler' AS name, count(*)::text AS rows, sum(hashtext(f::text)::bigint)::text AS hash FROM filler f
    UNION ALL SELECT 'load', count(*)::text, sum(hashtext(l::text)::bigint)::text FROM load l ORDER BY 1`)
  return rows
}

/** Tables of about `megabytes`, and one that writers write to. */
export async function fill(server: TestServer, megabytes: number): Promise<void> {
  await server.sql('CREATE TABLE load (id bigserial PRIMARY KEY, body text)')
  await server.sql(
    `CREATE TABLE filler AS SELECT g AS id, repeat(md5(g::text), 30) AS body FROM generate_series(1, $1::int) g`.replace(
      '$1::int',
      String(megabytes * 1000),
    ),
  )
}

export interface Load {
  stop(): Promise<void>
}

/** Inserts and updates without a pause until stopped: WAL and changed pages all the time. */
export async function startLoad(server: TestServer): Promise<Load> {
  const client: pg.Client = await server.connect()
  let stopped = false
  const run = async (): Promise<void> => {
    while (!stopped) {
      await client.query("INSERT INTO load (body) SELECT repeat('x', 500) FROM generate_series(1, 50)")
      await client.query("UPDATE load SET body = body || 'y' WHERE id % 100 = 0")
    }
  }
  const running = run()
  running.catch(() => undefined)
  return {
    stop: async () => {
      stopped = true
      await running
      await client.end()
    },
  }
}

/** An empty directory of the workspace that the server's user owns. */
export function emptyDirectory(fixture: Fixture, name: string): string {
  const path = join(fixture.workspace, name)
  mkdirSync(path, { mode: 0o700 })
  giveToServerUser(path)
  return path
}
