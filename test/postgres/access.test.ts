/** Who gets in: the roles of a new cluster and pg_hba.conf, tried from several addresses, with and without TLS. */
import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { Socket } from 'node:net'
import { Client, type ClientConfig, DatabaseError } from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { AGENT_ROLE, PROXY_ROLE, REPLICATION_ROLE } from '../../src/postgres/layout.ts'
import { PostgresLogins } from '../../src/postgres/logins.ts'
import { ensureProxyAccess } from '../../src/postgres/proxy-access.ts'
import { MAJORS, type TestNode, Workspace } from './fixture.ts'

interface Attempt {
  readonly from?: string
  readonly tls?: boolean
  readonly user: string
  /** Name of the secret; another text is a wrong password. */
  readonly password: 'superuser' | 'replication' | 'agent' | 'proxy' | 'application' | 'wrong'
  readonly database?: string
  readonly replication?: boolean
}

describe.each(MAJORS)('access to PostgreSQL %i', (major) => {
  let workspace: Workspace
  let node: TestNode

  beforeAll(async () => {
    workspace = await Workspace.make(`ac${major}`)
    node = await workspace.primary('alpha', major, {
      extraHba: [
        'host all all 127.0.0.3/32 scram-sha-256',
        'hostssl replication app 127.0.0.3/32 scram-sha-256',
      ],
    })
  })

  afterAll(() => workspace.end())

  /** 'ok', or the SQLSTATE of the refusal. */
  async function attempt(options: Attempt): Promise<string> {
    const secrets = workspace.secrets
    const { password } = options
    const config: ClientConfig & { replication?: string } = {
      host: '127.0.0.1',
      port: node.member.port,
      user: options.user,
      database: options.database ?? 'postgres',
      password: password === 'wrong' ? 'wrong' : readFileSync(secrets[password], 'utf8').trim(),
      ssl: options.tls === false ? false : { ca: readFileSync(workspace.authority.certificate) },
      stream: () => socketFrom(options.from ?? '127.0.0.1'),
      ...(options.replication === true ? { replication: 'true' } : {}),
    }
    const client = new Client(config)
    client.on('error', () => undefined)
    try {
      await client.connect()
      await client.query(options.replication === true ? 'IDENTIFY_SYSTEM' : 'SELECT 1')
      return 'ok'
    } catch (error) {
      if (error instanceof DatabaseError) return error.code ?? '?'
      throw error
    } finally {
      await client.end().catch(() => undefined)
    }
  }

  const refused = '28000'
  const wrongPassword = '28P01'
  const replication = { user: REPLICATION_ROLE, password: 'replication', replication: true } as const
  const agent = { user: AGENT_ROLE, password: 'agent' } as const
  const proxy = { user: PROXY_ROLE, password: 'proxy' } as const
  const application = { user: 'app', password: 'application', database: 'app' } as const
  const superuser = { user: 'postgres', password: 'superuser' } as const

  test.each<[string, Attempt, string]>([
    ['replication from a member with TLS', replication, 'ok'],
    ['replication from another address', { ...replication, from: '127.0.0.2' }, refused],
    ['replication without TLS', { ...replication, tls: false }, refused],
    ['replication with a wrong password', { ...replication, password: 'wrong' }, wrongPassword],
    ['replication as superuser', { ...superuser, replication: true }, refused],
    ['the replication role into a database', { ...replication, replication: false }, refused],
    ['replication past the user’s own lines', { ...replication, from: '127.0.0.3', tls: false }, refused],
    ['the agent of a member', agent, 'ok'],
    ['the agent from another address', { ...agent, from: '127.0.0.2' }, refused],
    ['the agent without TLS', { ...agent, tls: false }, refused],
    ['the agent into another database', { ...agent, database: 'app' }, refused],
    ['the agent past the user’s own lines', { ...agent, from: '127.0.0.3', tls: false }, refused],
    ['a proxy from anywhere', { ...proxy, from: '127.0.0.2' }, 'ok'],
    ['a proxy without TLS', { ...proxy, tls: false }, refused],
    ['a proxy into another database', { ...proxy, database: 'app' }, refused],
    ['a client with TLS from anywhere', { ...application, from: '127.0.0.2' }, 'ok'],
    ['a client without TLS from this machine', { ...application, tls: false }, 'ok'],
    ['a client without TLS from elsewhere', { ...application, tls: false, from: '127.0.0.2' }, refused],
    ['a client that the user’s own line lets in', { ...application, tls: false, from: '127.0.0.3' }, 'ok'],
    ['a client with a wrong password', { ...application, password: 'wrong' }, wrongPassword],
  ])('%s', async (_, options, expected) => {
    expect(await attempt(options)).toBe(expected)
  })

  test('PostgreSQL reads every line of pg_hba.conf', async () => {
    expect(await node.sql('SELECT * FROM pg_hba_file_rules WHERE error IS NOT NULL')).toEqual([])
  })

  test('roles have what they need and no more; passwords are stored as SCRAM verifiers', async () => {
    const rows = await node.sql(
      `SELECT rolname, rolsuper, rolreplication, rolcreaterole, rolcreatedb, rolconnlimit, left(rolpassword, 14) AS kind
       FROM pg_authid WHERE rolcanlogin ORDER BY rolname`,
    )
    const common = { rolcreaterole: false, rolcreatedb: false, rolsuper: false, kind: 'SCRAM-SHA-256$' }
    expect(rows).toEqual([
      { ...common, rolname: 'app', rolreplication: false, rolconnlimit: -1 },
      {
        ...common,
        rolname: 'postgres',
        rolsuper: true,
        rolreplication: true,
        rolcreaterole: true,
        rolcreatedb: true,
        rolconnlimit: -1,
      },
      { ...common, rolname: AGENT_ROLE, rolreplication: true, rolconnlimit: 12 },
      { ...common, rolname: PROXY_ROLE, rolreplication: false, rolconnlimit: -1 },
      { ...common, rolname: REPLICATION_ROLE, rolreplication: true, rolconnlimit: -1 },
    ])
    expect(
      await node.sql(
        `SELECT datname, pg_get_userbyid(datdba) AS owner, pg_encoding_to_char(encoding) AS encoding FROM pg_database WHERE datname = 'app'`,
      ),
    ).toEqual([{ datname: 'app', owner: 'app', encoding: 'UTF8' }])
  })

  test('the proxy reads the verifier of a role that may log in, and nothing else', async () => {
    await node.sql(`CREATE ROLE late LOGIN PASSWORD 'x' VALID UNTIL '2001-01-01'`)
    await node.sql(`CREATE ROLE group_only; CREATE ROLE bare LOGIN`)
    const logins = new PostgresLogins({
      nodes: () => [{ name: 'gone', host: '127.0.0.1', port: 1 }, node.member],
      password: () => readFile(workspace.secrets.proxy, 'utf8').then((text) => text.trim()),
      caPem: readFileSync(workspace.authority.certificate, 'utf8'),
      nowMs: () => performance.now(),
    })
    try {
      const [app] = await node.sql(`SELECT rolpassword FROM pg_authid WHERE rolname = 'app'`)
      expect(await logins.lookUp('app')).toEqual({ kind: 'found', verifier: app?.['rolpassword'] })
      expect(await logins.lookUp('bare')).toEqual({ kind: 'found', verifier: null })
      for (const role of ['late', 'group_only', 'missing', "app'; --"])
        expect(await logins.lookUp(role), role).toEqual({ kind: 'unknown' })
    } finally {
      logins.close()
    }
    const [may] = await node.sql(
      `SELECT has_table_privilege('${PROXY_ROLE}', 'pg_authid', 'SELECT') AS reads_all,
              has_function_privilege('app', 'understudy.login(text)', 'EXECUTE') AS everybody`,
    )
    expect(may).toEqual({ reads_all: false, everybody: false })
    await node.sql('DROP ROLE late, group_only, bare')
  })

  test('a cluster without the role and the function of the proxy gets them, once, and not from a stranger', async () => {
    const ensure = (): Promise<unknown> =>
      ensureProxyAccess({
        socketDirectory: node.options.socketDirectory,
        port: node.options.port,
        superuser: 'postgres',
        superuserPassword: workspace.secrets.superuser,
        proxyPassword: workspace.secrets.proxy,
      })
    expect(await ensure()).toEqual({ kind: 'ok', value: 'present' })
    await node.sql('DROP SCHEMA understudy CASCADE')
    await node.sql('CREATE SCHEMA understudy AUTHORIZATION app')
    expect(await ensure()).toMatchObject({
      kind: 'failed',
      code: 'refused',
      reason: expect.stringContaining('belongs to app'),
    })
    await node.sql('DROP SCHEMA understudy')
    await node.sql(`DROP ROLE ${PROXY_ROLE}`)
    expect(await ensure()).toEqual({ kind: 'ok', value: 'made' })
    expect(await ensure()).toEqual({ kind: 'ok', value: 'present' })
    expect(await attempt(proxy)).toBe('ok')
    const [made] = await node.sql(
      `SELECT has_function_privilege('${PROXY_ROLE}', 'understudy.login(text)', 'EXECUTE') AS proxy,
              has_function_privilege('app', 'understudy.login(text)', 'EXECUTE') AS everybody`,
    )
    expect(made).toEqual({ proxy: true, everybody: false })
    // One that was dropped alone gets its rights again.
    await node.sql(`DROP OWNED BY ${PROXY_ROLE}`)
    await node.sql(`DROP ROLE ${PROXY_ROLE}`)
    expect(await ensure()).toEqual({ kind: 'ok', value: 'made' })
    const [again] = await node.sql(
      `SELECT has_function_privilege('${PROXY_ROLE}', 'understudy.login(text)', 'EXECUTE') AS proxy`,
    )
    expect(again).toEqual({ proxy: true })
  })

  test('no password is in a log or in a process list', async () => {
    const passwords = Object.values(workspace.secrets).map((path) => readFileSync(path, 'utf8').trim())
    const [{ titles } = { titles: '' }] = await node.sql(
      `SELECT coalesce(string_agg(query, ' '), '') AS titles FROM pg_stat_activity`,
    )
    const seen = `${await node.log()} ${JSON.stringify(node.events)} ${String(titles)}`
    for (const password of passwords) expect(seen).not.toContain(password)
  })
})

function socketFrom(localAddress: string): Socket {
  class BoundSocket extends Socket {
    // pg calls connect(port, host), which leaves no room for the address to come from.
    override connect(...args: unknown[]): this {
      const [port, host] = args
      return super.connect({ port: Number(port), host: String(host), localAddress })
    }
  }
  return new BoundSocket()
}
