/** What configure() writes, as PostgreSQL reads it. */
import { appendFileSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createPostgres } from '../../src/postgres/create-postgres.ts'
import { eventually, MAJORS, PRIMARY, type TestNode, value, Workspace } from './fixture.ts'

describe.each(MAJORS)('configuration of PostgreSQL %i', (major) => {
  let workspace: Workspace
  let node: TestNode

  beforeAll(async () => {
    workspace = await Workspace.make(`co${major}`)
    node = await workspace.primary('alpha', major, {
      parameters: {
        work_mem: '7MB',
        max_wal_senders: 40,
        application_name: `it's a "test" \\ of quoting`,
        fsync: false,
        'pg_stat_statements.max': 1234,
      },
      extraHba: ['host all all 10.0.0.0/8 scram-sha-256', 'nonsense'],
    })
  })

  afterAll(() => workspace.end())

  async function show(name: string): Promise<unknown> {
    const [row] = await node.sql(`SELECT current_setting('${name}') AS value`)
    return row?.['value']
  }

  test('PostgreSQL understands every line', async () => {
    expect(await node.sql('SELECT * FROM pg_file_settings WHERE error IS NOT NULL')).toEqual([])
  })

  test('what the user may set is in effect, what would break replication is not, and is named', async () => {
    expect(await show('work_mem')).toBe('7MB')
    expect(await show('max_wal_senders')).toBe('40')
    expect(await show('application_name')).toBe(`it's a "test" \\ of quoting`)
    expect(await show('fsync')).toBe('on')
    const { refused } = value(await node.postgres.configure(PRIMARY))
    expect(refused).toEqual([
      { name: 'fsync', origin: 'configuration', reason: expect.stringContaining('acknowledged commit') },
      {
        name: expect.stringContaining('nonsense'),
        origin: 'configuration',
        reason: expect.stringContaining('begin with'),
      },
    ])
  })

  test.each([
    ['wal_level', 'replica'],
    ['hot_standby', 'on'],
    ['wal_log_hints', 'on'],
    ['ssl', 'on'],
    ['ssl_min_protocol_version', 'TLSv1.2'],
    ['password_encryption', 'scram-sha-256'],
    ['wal_retrieve_retry_interval', '100ms'],
    // Half as long again as the rto of 3 s, so that the agent still sees how old the last word is; and 3 × rto, at least 10 s.
    ['wal_receiver_timeout', '4500ms'],
    ['wal_sender_timeout', '10s'],
    ['logging_collector', 'on'],
    ['cluster_name', 'alpha'],
    ['data_checksums', 'on'],
    ['server_encoding', 'UTF8'],
  ])('%s is %s', async (name, wanted) => {
    expect(await show(name)).toBe(wanted)
  })

  test('writing the same again changes nothing', async () => {
    value(await node.postgres.configure(PRIMARY))
    expect(value(await node.postgres.configure(PRIMARY)).changed).toBe(false)
    expect(
      value(await node.postgres.configure({ ...PRIMARY, synchronousStandbyNames: 'ANY 1 ("x")' })).changed,
    ).toBe(true)
    value(await node.postgres.configure(PRIMARY))
  })

  test('only the owner can read what was written', async () => {
    const { nodeDir } = node.options
    for (const name of ['conf', 'log', 'data'])
      expect(statSync(join(nodeDir, name)).mode & 0o077, name).toBe(0)
    const files = ['conf', 'log'].flatMap((name) =>
      readdirSync(join(nodeDir, name)).map((file) => join(nodeDir, name, file)),
    )
    expect(files.length).toBeGreaterThan(6)
    for (const file of files) expect(statSync(file).mode & 0o077, file).toBe(0)
  })

  test('ALTER SYSTEM can set what a user may set; the rest is commented out with its reason', async () => {
    await node.sql(`ALTER SYSTEM SET work_mem = '9MB'`)
    await node.sql(`ALTER SYSTEM SET synchronous_standby_names = '*'`)
    await node.sql(`ALTER SYSTEM SET full_page_writes = off`)
    const path = join(node.dataDir, 'postgresql.auto.conf')
    appendFileSync(path, "primary_conninfo = 'host=elsewhere'\nthis is nothing\n")
    const { changed, refused } = value(await node.postgres.configure(PRIMARY))
    expect(changed).toBe(true)
    const names = refused.filter(({ origin }) => origin === 'postgresql.auto.conf').map(({ name }) => name)
    expect(names.sort()).toEqual([
      'full_page_writes',
      'primary_conninfo',
      'synchronous_standby_names',
      'this is nothing',
    ])
    value(await node.postgres.reload())
    await eventually('it is in effect', async () => (await show('work_mem')) === '9MB')
    expect(await show('synchronous_standby_names')).toBe('')
    expect(await show('full_page_writes')).toBe('on')
    expect(await node.sql('SELECT * FROM pg_file_settings WHERE error IS NOT NULL')).toEqual([])
    expect(readFileSync(path, 'utf8')).toContain('# commented out by understudy: ')
    expect(value(await node.postgres.configure(PRIMARY)).changed, 'once is enough').toBe(false)
  })

  test('the signal files follow the role, and a restore’s leftovers go', async () => {
    const signal = (name: string): boolean => existsSync(join(node.dataDir, name))
    writeFileSync(join(node.dataDir, 'recovery.signal'), '')
    value(await node.postgres.configure({ role: 'standby', upstream: null, synchronousStandbyNames: '' }))
    expect([signal('standby.signal'), signal('recovery.signal')]).toEqual([true, false])
    value(await node.postgres.configure(PRIMARY))
    expect(signal('standby.signal')).toBe(false)
  })

  test('members that come later are in pg_hba.conf after the next configure', async () => {
    const members = [
      node.member,
      { name: 'bravo', host: '192.0.2.7', port: 1 },
      { name: 'charlie', host: '2001:db8::1', port: 1 },
    ]
    const other = createPostgres({ ...node.options, members: () => members })
    value(await other.configure(PRIMARY))
    value(await node.postgres.reload())
    await eventually('it is read', async () => {
      const rows = await node.sql(
        `SELECT address FROM pg_hba_file_rules WHERE 'replication' = ANY (database) AND auth_method = 'scram-sha-256'`,
      )
      return rows.map((row) => row['address']).join() === '127.0.0.1,192.0.2.7,2001:db8::1'
    })
    expect(await node.sql('SELECT * FROM pg_hba_file_rules WHERE error IS NOT NULL')).toEqual([])
    await other.close()
  })
})
