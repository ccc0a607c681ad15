/** `doctor --url` on servers that somebody else has set up: healthy, and broken in each way that can be made here. */
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { runCli } from '../support/cli.ts'
import { findInstalls } from '../support/postgres-installs.ts'
import {
  freePort,
  makeWorkspace,
  startPrimary,
  startStandby,
  type TestServer,
} from '../support/postgres-server.ts'

interface Report {
  readonly ok: boolean
  readonly checks: readonly {
    readonly id: string
    readonly status: string
    readonly message: string
    readonly hint: string | null
  }[]
}

for (const install of findInstalls())
  describe(`the replication of a PostgreSQL ${install.major} that is not ours`, () => {
    const workspace = makeWorkspace(`doctor-${install.major}`)
    let primary: TestServer
    let standby: TestServer

    beforeAll(async () => {
      const options = { install, workspace: workspace.path }
      primary = await startPrimary({
        ...{ ...options, name: 'one' },
        configuration: [
          'fsync = on',
          'max_slot_wal_keep_size = 1GB',
          'archive_mode = on',
          "archive_command = '/bin/true'",
        ],
      })
      await primary.sql("ALTER ROLE postgres PASSWORD 'secret'; CREATE ROLE looker LOGIN PASSWORD 'secret'")
      await primary.stop()
      cpSync(primary.dataDirectory, path.join(workspace.path, 'two'), { recursive: true })
      rmSync(path.join(workspace.path, 'two', 'postmaster.pid'), { force: true })
      await primary.start()
      await primary.sql("SELECT pg_create_physical_replication_slot('two', true)")
      const conninfo = `host=${workspace.path} port=${primary.port} user=postgres application_name=two`
      standby = await startStandby({
        ...{ ...options, name: 'two', primaryConninfo: conninfo },
      })
      standby.configure(["primary_slot_name = 'two'"])
      await standby.sql('SELECT pg_reload_conf()')
      await until(async () => {
        const [slot] = await primary.sql("SELECT active FROM pg_replication_slots WHERE slot_name = 'two'")
        return slot?.['active'] === true
      })
    })

    afterAll(async () => {
      await standby?.stop('SIGQUIT')
      await primary?.stop('SIGQUIT')
      workspace.remove()
    })

    const url = (server: TestServer, user = 'postgres', password = 'secret'): string =>
      `postgresql://${user}:${password}@127.0.0.1:${server.port}/postgres`

    const examine = async (
      of: string,
    ): Promise<{ readonly code: number | null; readonly report: Report }> => {
      const result = await runCli(['doctor', '--json', '--url', of])
      expect(result.stderr).toBe('')
      return { code: result.code, report: JSON.parse(result.stdout) as Report }
    }

    const finding = (report: Report, id: string): Report['checks'][number] | undefined =>
      report.checks.find((each) => each.id === id)

    const set = async (name: string, value: string): Promise<void> => {
      await primary.sql(value === '' ? `ALTER SYSTEM RESET ${name}` : `ALTER SYSTEM SET ${name} = '${value}'`)
      await primary.sql('SELECT pg_reload_conf()')
      await until(async () => {
        const [row] = await primary.sql('SELECT setting FROM pg_settings WHERE name = $1', [name])
        return value === '' || row?.['setting'] === value
      })
    }

    test('is well where it is well, and nothing is written', async () => {
      const before = await primary.sql('SELECT txid_snapshot_xmax(txid_current_snapshot()) AS xid')
      const { code, report } = await examine(url(primary))
      expect(report.checks.filter(({ status }) => status !== 'ok')).toEqual([])
      expect(report.ok).toBe(true)
      expect(code).toBe(0)
      expect(finding(report, 'standbys')?.message).toBe('1 standby up to date: two')
      expect(await primary.sql('SELECT txid_snapshot_xmax(txid_current_snapshot()) AS xid')).toEqual(before)
    })

    test('names a standby as one, and where its primary is; of several hosts it takes the primary', async () => {
      const { code, report } = await examine(url(standby))
      expect(code).toBe(3)
      expect(report.checks.map(({ id }) => id)).toEqual(['role'])
      expect(report.checks[0]?.message).toContain('it is a standby')
      const both = `postgresql://postgres:secret@127.0.0.1:${standby.port},127.0.0.1:${primary.port}/postgres?target_session_attrs=read-write`
      expect((await examine(both)).report.checks.length).toBeGreaterThan(10)
    })

    test('finds a slot without consumer and says how to drop it', async () => {
      await primary.sql("SELECT pg_create_physical_replication_slot('gone', true)")
      const { code, report } = await examine(url(primary))
      expect(finding(report, 'slots')).toMatchObject({
        status: 'warning',
        hint: expect.stringContaining("pg_drop_replication_slot('gone')"),
      })
      expect(code).toBe(0)
      await primary.sql("SELECT pg_drop_replication_slot('gone')")
    })

    test('finds sync names that match nobody, and so commits that wait', async () => {
      await set('synchronous_standby_names', 'FIRST 1 (tow)')
      const { code, report } = await examine(url(primary))
      expect(finding(report, 'sync-names')).toMatchObject({ status: 'failed' })
      expect(finding(report, 'sync-names')?.message).toContain('connected: two')
      expect(code).toBe(3)
      await set('synchronous_standby_names', '')
    })

    test('finds an archive that fails', async () => {
      await set('archive_command', '/bin/false')
      await primary.sql('SELECT pg_switch_wal()')
      await until(async () => {
        const [row] = await primary.sql('SELECT failed_count FROM pg_stat_archiver')
        return Number(row?.['failed_count']) > 0
      })
      expect(finding((await examine(url(primary))).report, 'archive')).toMatchObject({ status: 'failed' })
      await set('archive_command', '')
    })

    test('finds lines of pg_hba.conf that are missing or broken', async () => {
      const file = path.join(primary.dataDirectory, 'pg_hba.conf')
      const good = readFileSync(file, 'utf8')
      writeFileSync(file, good.replace(/^host replication.*\n/m, ''))
      const missing = finding((await examine(url(primary))).report, 'hba')
      expect(missing).toMatchObject({ status: 'failed', message: expect.stringContaining('no line lets') })
      writeFileSync(file, `${good}hots all all all trust\n`)
      const broken = finding((await examine(url(primary))).report, 'hba')
      expect(broken).toMatchObject({ status: 'failed', message: expect.stringMatching(/^line \d+: /) })
      writeFileSync(file, good)
    })

    test('says what a role without privileges may not see, and looks at the rest', async () => {
      const { report } = await examine(url(primary, 'looker'))
      expect(finding(report, 'privileges')).toMatchObject({
        status: 'warning',
        hint: 'As superuser: GRANT pg_monitor TO "looker";',
      })
      expect(finding(report, 'wal-level')?.status).toBe('ok')
    })

    test('a wrong password, nobody there, and no URI are told apart', async () => {
      const wrong = await runCli(['doctor', '--url', url(primary, 'postgres', 'wrong')])
      expect([wrong.code, wrong.stderr]).toEqual([1, expect.stringContaining('auth-failed')])
      const nobody = await runCli([
        'doctor',
        '--url',
        `postgresql://postgres@127.0.0.1:${await freePort()}/postgres`,
      ])
      expect([nobody.code, nobody.stderr]).toEqual([4, expect.stringContaining('unreachable')])
      const noUri = await runCli(['doctor', '--url', 'db1.example.com'])
      expect([noUri.code, noUri.stderr]).toEqual([2, expect.stringContaining('usage')])
    })
  })

async function until(look: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 60_000
  while (!(await look())) {
    if (performance.now() > deadline) throw new Error('waited in vain')
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}
