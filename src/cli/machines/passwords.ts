/**
 * New passwords while everything runs. They are made beside the old ones first; then PostgreSQL gets their verifiers in one transaction;
 * then they take the old ones' place, which are kept as `previous` for nodes that were away. Whoever is interrupted goes on where he was.
 * What is connected stays connected: PostgreSQL asks for a password only at the beginning of a session.
 */
import { mkdir, readdir, readFile, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import type pg from 'pg'
import { nodeOf, type ResolvedConfig } from '../../config/load.ts'
import { UnderstudyError } from '../../errors/codes.ts'
import { fsyncDirectory, readTextIfPresent } from '../../postgres/durable.ts'
import { AGENT_ROLE, PROXY_ROLE, REPLICATION_ROLE } from '../../postgres/layout.ts'
import { missingProxyStatements, PROXY_FACTS_SQL, proxyFactsOf } from '../../postgres/proxy-access.ts'
import { quoteIdentifier } from '../../postgres/roles.ts'
import { ensureSecret, readSecret } from '../../postgres/secrets.ts'
import { scramVerifier } from '../../protocol/scram.ts'
import { demand, fileError } from '../local/prepare.ts'
import { openClient } from '../open-client.ts'
import { SECRET_NAMES } from '../secret-names.ts'
import { ensureSecrets, type HomeLayout } from './home.ts'

const DEADLINE_MS = 20_000

/** Errors: connect-failed, auth-failed, sql-failed, no-permission. */
export async function rotatePasswords(
  layout: HomeLayout,
  config: ResolvedConfig,
  primary: string,
): Promise<void> {
  const next = path.join(layout.secrets, 'next')
  // A directory that an older version made has fewer of them, and so has a rotation that it did not end.
  await ensureSecrets(layout)
  try {
    await mkdir(next, { recursive: true, mode: 0o700 })
    // Those that were taken over already, before an interruption, are not made once more.
    const known = (await readdir(next)).filter((name) => !name.includes('.'))
    const complete = (await readTextIfPresent(path.join(next, MADE))) !== null
    if (!complete) {
      for (const name of SECRET_NAMES) demand(await ensureSecret(path.join(next, name)))
      await markMade(next)
    }
    if (!complete || known.includes('superuser')) await tellPostgres(layout, config, primary)
    await takeOver(layout, next)
  } catch (error) {
    throw fileError(error, layout.secrets)
  }
}

/** In `next`: all of them are made. */
const MADE = '.made'

async function markMade(next: string): Promise<void> {
  demand(await ensureSecret(path.join(next, MADE)))
}

/** The superuser's goes last: until it has moved, PostgreSQL may have either of the two. */
const IN_ORDER = [...SECRET_NAMES.filter((name) => name !== 'superuser'), 'superuser'] as const

async function takeOver(layout: HomeLayout, next: string): Promise<void> {
  const previous = path.join(layout.secrets, 'previous')
  await mkdir(previous, { recursive: true, mode: 0o700 })
  for (const name of IN_ORDER) {
    const file = path.join(layout.secrets, name)
    const made = await readTextIfPresent(path.join(next, name))
    if (made === null) continue
    const current = await readTextIfPresent(file)
    if (current !== null && current !== made) await rename(file, path.join(previous, name))
    await rename(path.join(next, name), file)
    await fsyncDirectory(layout.secrets)
  }
  await rm(next, { recursive: true, force: true })
}

async function tellPostgres(layout: HomeLayout, config: ResolvedConfig, primary: string): Promise<void> {
  const client = await connectAsSuperuser(layout, config, primary)
  const secretOf = async (name: string): Promise<string> =>
    (await readTextIfPresent(path.join(layout.secrets, 'next', name)))?.trim() ??
    demand(await readSecret(path.join(layout.secrets, name)))
  const { application, postgres } = config
  const roles: readonly (readonly [string, string])[] = [
    [REPLICATION_ROLE, 'replication'],
    [AGENT_ROLE, 'agent'],
    ...(application.managed ? [[application.user, 'application'] as const] : []),
    [postgres.superuser, 'superuser'],
  ]
  try {
    await client.query('BEGIN')
    // A verifier is no password, and still nobody's business in a log.
    await client.query("SET LOCAL log_statement = 'none'; SET LOCAL log_min_duration_statement = -1")
    for (const [role, secret] of roles) {
      const verifier = scramVerifier({ password: await secretOf(secret) })
      await client.query(`ALTER ROLE ${quoteIdentifier(role)} PASSWORD '${verifier}'`)
    }
    await tellOfProxy(client, config.postgres.superuser, scramVerifier({ password: await secretOf('proxy') }))
    await client.query('COMMIT')
  } catch (error) {
    throw new UnderstudyError(
      'sql-failed',
      `the passwords could not be changed: ${(error as Error).message}`,
      {
        hint: 'Nothing was changed, unless the connection broke at the very end: run the same command again.',
      },
    )
  } finally {
    await client.end().catch(() => {})
  }
}

/** A cluster that is older than the proxy gets its role here, if the agent of the primary has not made it. */
async function tellOfProxy(client: pg.Client, superuser: string, verifier: string): Promise<void> {
  const found = await client.query<Record<string, unknown>>(PROXY_FACTS_SQL)
  const facts = proxyFactsOf(found.rows[0])
  if (facts.role) await client.query(`ALTER ROLE ${quoteIdentifier(PROXY_ROLE)} PASSWORD '${verifier}'`)
  const missing = demand(missingProxyStatements(facts, { superuser, verifier }))
  for (const statement of missing) await client.query(statement)
}

/** Before an interruption it may have got the new one already. */
async function connectAsSuperuser(
  layout: HomeLayout,
  config: ResolvedConfig,
  primary: string,
): Promise<pg.Client> {
  const { host, port } = nodeOf(config, primary)
  const ca = await readFile(config.tls.caFile, 'utf8')
  let failure: Error = new Error('there is no password of the superuser')
  for (const file of [
    path.join(layout.secrets, 'superuser'),
    path.join(layout.secrets, 'next', 'superuser'),
  ]) {
    const password = (await readTextIfPresent(file))?.trim()
    if (password === undefined) continue
    try {
      return await openClient({
        ...{ host, port, user: config.postgres.superuser, database: 'postgres', password, ssl: { ca } },
        connectionTimeoutMillis: DEADLINE_MS,
        query_timeout: DEADLINE_MS,
      })
    } catch (error) {
      failure = error as Error
      if ((error as { code?: string }).code !== '28P01') break
    }
  }
  const wrong = (failure as { code?: string }).code === '28P01'
  throw new UnderstudyError(
    wrong ? 'auth-failed' : 'connect-failed',
    `${primary} at ${host}:${port}: ${failure.message}`,
  )
}
