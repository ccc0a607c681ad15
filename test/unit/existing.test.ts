import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import type { ReleaseAnswer } from '../../src/api/contract.ts'
import { byHand } from '../../src/cli/existing/by-hand.ts'
import { readTarget } from '../../src/cli/existing/connect.ts'
import { type Joining, ofCluster } from '../../src/cli/existing/join.ts'
import type { Journal } from '../../src/cli/existing/journal.ts'
import { judge, type ToJudge } from '../../src/cli/existing/judge.ts'
import { managerOf, otherManagers } from '../../src/cli/existing/machine.ts'
import { unitIn } from '../../src/cli/existing/old-unit.ts'
import { refuseKept, whyKept } from '../../src/cli/existing/others.ts'
import { startModeOf } from '../../src/cli/existing/plan.ts'
import {
  translateHba,
  translateIdent,
  translateListen,
  translateSettings,
} from '../../src/cli/existing/translate.ts'
import type { ResolvedConfig } from '../../src/config/load.ts'
import { lsnOf } from '../../src/core/lsn.ts'
import { ERRORS } from '../../src/errors/codes.ts'
import { restoredAutoConf, sanitizeAutoConf } from '../../src/postgres/auto-conf.ts'
import { renderSettings } from '../../src/postgres/base-configuration.ts'
import { renderHba } from '../../src/postgres/hba.ts'
import { releasedText } from '../../src/postgres/release.ts'

describe('the server that --from names', () => {
  test.each([
    ['postgresql:///postgres', '/var/run/postgresql', 5432, 'postgres', 'postgres'],
    ['postgres://', '/var/run/postgresql', 5432, 'postgres', 'postgres'],
    ['postgresql://me:s%20e@db.example.com:5433/shop', 'db.example.com', 5433, 'me', 'shop'],
    ['postgresql://[fd00::1]:5433/shop', 'fd00::1', 5433, 'postgres', 'shop'],
    ['postgresql:///shop?host=/run/pg&port=5444', '/run/pg', 5444, 'postgres', 'shop'],
    ['postgresql://%2Frun%2Fpg/shop', '/run/pg', 5432, 'postgres', 'shop'],
  ])('%s', (text, host, port, user, database) => {
    expect(readTarget(text)).toMatchObject({ host, port, user, database })
  })

  test.each(['', 'mysql://x', 'postgresql://a,b/x', 'postgresql://a:99999/x', 'postgresql:///x?port=0'])(
    'is refused: %j',
    (text) => expect(() => readTarget(text)).toThrow(expect.objectContaining({ code: 'usage' })),
  )
})

describe('the configuration of a server that was there before', () => {
  const fileSettings = [
    { name: 'work_mem', value: '7MB', file: '/etc/a.conf', line: 1 },
    { name: 'port', value: '5433', file: '/etc/a.conf', line: 2 },
    { name: 'fsync', value: 'off', file: '/etc/a.conf', line: 3 },
    { name: 'shared_preload_libraries', value: 'pg_stat_statements', file: '/etc/a.conf', line: 4 },
    { name: 'pg_stat_statements.track', value: 'all', file: '/etc/a.conf', line: 5 },
    { name: 'max_wal_senders', value: '3', file: '/etc/a.conf', line: 6 },
  ]

  test('is kept where it may be, and left out with a reason and its place elsewhere', () => {
    const { parameters, setAside } = translateSettings(
      { fileSettings, commandLine: [{ name: 'work_mem', value: '9MB' }] },
      { major: 15, autoConf: "maintenance_work_mem = '1GB'\nssl = 'off'\n" },
    )
    expect(parameters).toEqual({
      work_mem: '9MB',
      shared_preload_libraries: 'pg_stat_statements',
      'pg_stat_statements.track': 'all',
    })
    expect(setAside.map(({ name, where }) => `${name} ${where}`)).toEqual([
      'fsync /etc/a.conf:3',
      'max_wal_senders /etc/a.conf:6',
      'ssl postgresql.auto.conf',
    ])
  })

  test('has its lines of pg_hba.conf in their order, whole, and without comments', () => {
    const text = [
      '# TYPE DATABASE',
      'local\tall\tpostgres\tpeer # as always',
      'host all "we#ird" \\',
      '  10.0.0.0/8 md5',
      '',
      'host all all samenet scram-sha-256',
    ].join('\n')
    expect(translateHba(text)).toEqual({
      lines: [
        'local all postgres peer',
        'host all "we#ird"    10.0.0.0/8 md5',
        'host all all samenet scram-sha-256',
      ],
      problems: [],
    })
    expect(translateHba('local @users all peer\ninclude other.conf').problems).toHaveLength(2)
    expect(translateIdent('m /^(.*)@x$ \\1\ninclude y')).toMatchObject({ lines: ['m /^(.*)@x$ \\1'] })
    expect(translateIdent('include y').problems).toHaveLength(1)
  })

  test('lets nobody else in: before its lines stand only those of the roles of understudy', () => {
    const text = renderHba([{ name: 'alpha', host: '10.0.0.1' }], ['local all postgres peer'], {
      superuser: 'understudy_superuser',
    })
    const rules = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
    expect(rules.at(-1)).toBe('local all postgres peer')
    for (const rule of rules.slice(0, -1)) expect(rule).toMatch(/understudy_/)
    expect(text).toMatch(/hostssl\s+all\s+understudy_superuser\s+10\.0\.0\.1\/32\s+scram-sha-256/)
  })

  test('is listened for where it was, and where the other nodes look', () => {
    const at = (given: string, host: string): readonly string[] =>
      translateListen(given, { host, hasIPv6: true })
    expect(at('localhost', '10.0.0.1')).toEqual(['127.0.0.1', '::1', '10.0.0.1'])
    expect(at('', '10.0.0.1')).toEqual(['10.0.0.1'])
    expect(at('*', '10.0.0.1')).toEqual(['*'])
    expect(at('10.0.0.1, 127.0.0.1', '10.0.0.1')).toEqual(['10.0.0.1', '127.0.0.1'])
    expect(at('localhost', 'db.example.com')).toEqual(['*'])
    expect(at('some-name', '10.0.0.1')).toEqual(['*'])
  })

  test('gets back what was commented out, also when ALTER SYSTEM has dropped the comments', () => {
    const before = "work_mem = '8MB'\nfsync = 'off'\n"
    const { text } = sanitizeAutoConf(before, 15)
    expect(text).not.toMatch(/^fsync/m)
    expect(restoredAutoConf(text, before)).toBe(before)
    expect(restoredAutoConf("work_mem = '9MB'\n", before)).toBe("work_mem = '9MB'\nfsync = 'off'\n")
    // Reset by somebody meanwhile: it stays away.
    expect(restoredAutoConf("fsync = 'off'\n", before)).toBe("fsync = 'off'\n")
  })
})

describe('who else looks after it', () => {
  test('is known by its program', () => {
    const seen = (...args: string[]) => ({ pid: 1, parentPid: 0, args })
    expect(otherManagers([seen('/usr/bin/python3', '/usr/bin/patroni', '/etc/patroni.yml')])).toEqual([
      'patroni',
    ])
    expect(otherManagers([seen('/usr/bin/repmgrd', '-f', 'x'), seen('vim', 'a', 'patroni')])).toEqual([
      'repmgrd',
    ])
  })

  test('is Debian where its configuration lies as Debian keeps it', () => {
    expect(managerOf('/etc/postgresql/15/main/postgresql.conf')).toEqual({
      ...{ kind: 'debian', version: '15', name: 'main', directory: '/etc/postgresql/15/main' },
    })
    expect(managerOf('/srv/data/postgresql.conf').kind).toBe('plain')
    expect(startModeOf('# auto: …\n\nmanual\n')).toBe('manual')
    expect(startModeOf(null)).toBe('auto')
  })
})

describe('a server is refused', () => {
  const codes = (change: (seen: ToJudge) => unknown): readonly string[] => {
    const seen = soundServer()
    return judge({ ...seen, ...(change(seen) as Partial<ToJudge>) }).refusals.map(({ code }) => code)
  }
  const server = (more: Partial<ToJudge['server']>) => (seen: ToJudge) => ({
    server: { ...seen.server, ...more },
  })
  const machine = (more: Partial<ToJudge['machine']>) => (seen: ToJudge) => ({
    machine: { ...seen.machine, ...more },
  })
  const settings = (...more: readonly (readonly [string, string])[]) => server({ settings: new Map(more) })

  test('not when it is fit', () => {
    expect(judge(soundServer()).refusals).toEqual([])
  })

  test.each([
    ['unsupported-version', server({ major: 14, version: '14.2' })],
    ['not-primary', server({ inRecovery: true })],
    ['tablespaces', server({ tablespaces: ['fast'] })],
    ['role-exists', server({ ownRoles: ['understudy_agent'] })],
    ['refused', server({ hasAgentDatabase: false })],
    ['config-invalid', server({ fileErrors: ['a.conf:1: nonsense'] })],
    ['config-invalid', server({ hbaErrors: ['line 3: nonsense'] })],
    ['slot-behind', server({ slots: [{ name: 's', type: 'logical', active: false, heldBytes: 1e12 }] })],
    ['sync-names-set', settings(['synchronous_standby_names', '*'], ['archive_mode', 'off'])],
    ['archive-set', settings(['archive_mode', 'on'], ['archive_command', 'cp %p /x'])],
    ['not-local', machine({ postmaster: null, notLocal: 'it is elsewhere' })],
    ['already-managed', machine({ isOurs: true })],
    ['managed-elsewhere', machine({ managers: ['patroni'] })],
    ['wrong-owner', machine({ owner: null, ownerUid: 0 })],
    ['config-read-only', machine({ readOnly: 'start.conf: its file system is read-only' })],
    ['wrong-owner', () => ({ owner: 'somebody' })],
    ['wrong-owner', () => ({ uid: 4711 })],
    ['config-invalid', () => ({ hba: { lines: [], problems: ['include x'] } })],
  ] as const)('%s', (code, change) => {
    expect(codes(change)).toEqual([code])
  })

  test('in whole sentences, and with the hint of the list where there is no better one', () => {
    const [refusal] = judge({
      ...soundServer(),
      ...machine({ managers: ['patroni', 'repmgrd'] })(soundServer()),
    }).refusals
    expect(refusal).toEqual({
      code: 'managed-elsewhere',
      message: 'patroni and repmgrd runs on this machine',
      hint: ERRORS['managed-elsewhere'].hint,
    })
  })

  test('only without --end-archiving', () => {
    const seen = {
      ...soundServer(),
      ...settings(['archive_mode', 'on'], ['archive_command', 'x'])(soundServer()),
    }
    expect(judge({ ...seen, endArchiving: true })).toMatchObject({ refusals: [] })
    expect(judge({ ...seen, endArchiving: true }).warnings.join(' ')).toContain('archiving ends')
  })
})

describe('a server that was taken over is kept', () => {
  const since = {
    role: 'primary',
    restarted: true,
    otherNodes: [],
    data: 'link',
    hasStandbySignal: false,
  } as const
  const standby = { ...since, role: 'standby', otherNodes: ['alpha'], hasStandbySignal: true } as const

  test('not while nothing has happened that would be lost', () => {
    expect(whyKept(since)).toBeNull()
    expect(whyKept({ ...since, restarted: false, otherNodes: ['bravo'], data: 'absent' })).toBeNull()
    expect(whyKept(standby)).toBeNull()
  })

  test.each([
    ['another node has joined', { ...since, otherNodes: ['bravo'] }],
    ['a clone has taken the place of its data', { ...since, data: 'other' }],
    ['the same on a standby', { ...standby, data: 'other' }],
    [
      'the standby is the primary now: its old service would make a second one',
      { ...standby, hasStandbySignal: false },
    ],
  ] as const)('when %s', (_, seen) => {
    expect(whyKept(seen)).toMatchObject({ code: 'refused', hint: expect.stringContaining('release') })
  })
})

describe('a server of which the journal does not know yet that it was restarted', () => {
  const place = mkdtempSync(path.join(tmpdir(), 'kept-'))
  afterAll(() => rmSync(place, { recursive: true }))
  const nodeDirectory = path.join(place, 'node')
  const dataDirectory = path.join(place, 'data')
  mkdirSync(path.join(nodeDirectory, 'conf'), { recursive: true })
  mkdirSync(dataDirectory)
  symlinkSync(dataDirectory, path.join(nodeDirectory, 'data'))
  const nodes = 'alpha: { host: 10.0.0.1 }, bravo: { host: 10.0.0.2 }'
  const journal = (more: Partial<Journal>): Journal =>
    ({
      ...{ role: 'primary', node: 'alpha', nodeDirectory, done: ['agent'], undoing: false, ...more },
      configText: `cluster: main\nstore: { endpoints: [http://127.0.0.1:2379] }\nnodes: { ${nodes} }\n`,
      server: { dataDirectory },
    }) as unknown as Journal

  test('is given back while its agent has never begun a start', async () => {
    await expect(refuseKept(journal({}), place)).resolves.toBeUndefined()
  })

  test('is kept when it was begun: bravo may have taken over since', async () => {
    writeFileSync(path.join(nodeDirectory, 'conf', 'postgresql.conf'), '')
    await expect(refuseKept(journal({}), place)).rejects.toMatchObject({ code: 'refused' })
    await expect(refuseKept(journal({ undoing: true }), place)).resolves.toBeUndefined()
  })

  test('as a standby is kept when it was promoted, also while its way back is under way', async () => {
    const promoted = journal({ role: 'standby', undoing: true })
    await expect(refuseKept(promoted, place)).rejects.toMatchObject({ code: 'refused' })
    writeFileSync(path.join(dataDirectory, 'standby.signal'), '')
    await expect(refuseKept(promoted, place)).resolves.toBeUndefined()
  })
})

describe('the unit under which a server runs', () => {
  test.each([
    ['0::/system.slice/system-postgresql.slice/postgresql@15-main.service\n', 'postgresql@15-main.service'],
    ['4:memory:/a\n1:name=systemd:/system.slice/database.service\n0::/\n', 'database.service'],
    ['1:name=systemd:/\n0::/system.slice/database.service/inner\n', 'database.service'],
    ['0::/user.slice/user-0.slice/session-1.scope\n', null],
    ['0::/user.slice/user-1000.slice/user@1000.service/app.slice/database.service\n', null],
    ['0::/../../system.slice/database.service\n', null],
    ['', null],
  ])('%j is %s', (text, unit) => {
    expect(unitIn(text)).toBe(unit)
  })
})

describe('a server that is given back', () => {
  const released = (service: ReleaseAnswer['service']): ReleaseAnswer => ({
    ...{ node: 'alpha', role: 'primary', dataDirectory: '/srv/data', nodeDirectory: '/srv/node' },
    ...{ configFile: '/srv/node/conf/postgresql.conf', binDirectory: '/usr/lib/postgresql/15/bin', service },
  })

  test('by Debian is one line more in its own configuration, and starts as it did', () => {
    const lines = byHand(
      { cluster: 'main', proxy: null },
      {
        ...released({
          ...{ kind: 'debian', cluster: '15 main', startFile: '/etc/postgresql/15/main/start.conf' },
          ...{ startMode: 'auto', configDirectory: '/etc/postgresql/15/main' },
        }),
      },
      true,
    ).join('\n')
    expect(lines).toContain('systemctl disable --now understudy-main-alpha.service')
    expect(lines).toContain(
      `echo "include '/srv/node/conf/postgresql.conf'" >> /etc/postgresql/15/main/postgresql.conf`,
    )
    expect(lines).toContain('echo auto > /etc/postgresql/15/main/start.conf')
    // `restart` would have systemd start a second one beside the server that runs.
    expect(lines).toMatch(/pg_ctlcluster 15 main stop .*\n {2}pg_ctlcluster 15 main start/)
    expect(lines).toContain('systemctl disable --now understudy-main-etcd.service')
  })

  test('by the unit of before is enabled and started as that', () => {
    const plain = {
      ...{ kind: 'plain' as const, cluster: null, startFile: '/srv/data/postgresql.conf', startMode: 'auto' },
      ...{ configDirectory: '/srv/data', unit: { name: 'database.service', isEnabled: true } },
    }
    const lines = byHand({ cluster: 'main', proxy: null }, released(plain), false).join('\n')
    expect(lines).toMatch(
      /systemctl enable database\.service\n(.*\n)*.*pg_ctl stop.*\n {2}systemctl start database\.service$/,
    )
    expect(lines).not.toContain('etcd')
  })

  test('has no proxy of its own any more', () => {
    const lines = (proxy: unknown): string =>
      byHand({ cluster: 'main', proxy: proxy as ResolvedConfig['proxy'] }, released(null), false).join('\n')
    expect(lines({})).toContain('systemctl disable --now understudy-main-alpha-proxy.service')
    expect(lines(null)).not.toContain('proxy')
  })

  test('that began with understudy is started by the words that are printed', () => {
    expect(byHand({ cluster: 'main', proxy: null }, released(null), false).join('\n')).toContain(
      '/usr/lib/postgresql/15/bin/postgres -D /srv/data -c config_file=/srv/node/conf/postgresql.conf',
    )
  })

  test('has files that say whose they are, and starts again after a crash by itself', () => {
    const setting = renderSettings([{ name: 'restart_after_crash', value: false, why: '' }])
    const text = `# Written by understudy at every change of roles: edits here are lost.\n${setting}`
    const after = releasedText('replication.conf', text)
    expect(after).toContain('the file is yours.\n')
    expect(after).toMatch(/^restart_after_crash = 'on'$/m)
    expect(releasedText('replication.conf', after)).toBe(after)
    expect(releasedText('user.conf', setting)).toContain('off')
  })
})

describe('a standby that was there before', () => {
  const joining = (more: Partial<Joining> = {}): Joining => ({
    server: { systemIdentifier: '1', inRecovery: true, major: 15 },
    upstream: { status: 'streaming', slot: '', timelineId: 3, lsn: '0/5000000', delay: '0' },
    identity: { systemIdentifier: '1', major: 15 },
    primacy: {
      ...{ primary: 'alpha', phase: 'steady' },
      history: {
        timelineId: 3,
        ancestors: [{ timelineId: 2, switchpointLsn: lsnOf(0x4000000n), reason: '' }],
      },
    },
    node: 'bravo',
    ...more,
  })
  const codes = (more: Partial<Joining>): readonly string[] =>
    ofCluster(joining(more)).map(({ code }) => code)
  const upstream = (more: Partial<Joining['upstream']>): Partial<Joining> => ({
    upstream: { ...joining().upstream, ...more },
  })

  test('joins with what it has when that is within the history of the primary', () => {
    expect(codes({})).toEqual([])
    expect(codes(upstream({ timelineId: 2, lsn: '0/3000000' }))).toEqual([])
  })

  test.each([
    ['wrong-timeline', upstream({ timelineId: 2, lsn: '0/4000001' })],
    ['wrong-timeline', upstream({ timelineId: 4 })],
    ['not-streaming', upstream({ status: null })],
    ['not-streaming', upstream({ status: 'waiting' })],
    ['refused', upstream({ delay: '1h' })],
    ['system-identifier', { identity: { systemIdentifier: '2', major: 15 } }],
    ['wrong-major', { identity: { systemIdentifier: '1', major: 16 } }],
    ['refused', { server: { systemIdentifier: '1', inRecovery: false, major: 15 } }],
    ['already-primary', { node: 'alpha' }],
    ['election-running', { primacy: { ...joining().primacy, phase: 'electing' } }],
  ] as const)('is refused: %s', (code, more) => {
    expect(codes(more as Partial<Joining>)).toEqual([code])
  })
})

function soundServer(): ToJudge {
  return {
    server: {
      ...{ version: '15.20', major: 15, user: 'postgres', isSuperuser: true, inRecovery: false },
      ...{ systemIdentifier: '1', timelineId: 1, backendPid: 2, database: 'shop', databaseOwner: 'shop' },
      settings: new Map([['archive_mode', 'off']]),
      ...{ fileSettings: [], fileErrors: [], commandLine: [], pendingRestart: [], slots: [], standbys: [] },
      ...{ tablespaces: [], hasAgentDatabase: true, ownRoles: [], hbaErrors: [], dataBytes: 1 },
    },
    machine: {
      dataDirectory: '/srv/data',
      postmaster: { pid: 1, startTicks: '1' },
      notLocal: null,
      isOurs: false,
      owner: { name: 'postgres', uid: 101, gid: 101, home: '/' },
      ownerUid: 101,
      binDirectory: '/usr/lib/postgresql/15/bin',
      command: [],
      outputFile: null,
      manager: { kind: 'debian', version: '15', name: 'main', directory: '/etc/postgresql/15/main' },
      startFile: '/etc/postgresql/15/main/start.conf',
      startText: 'auto\n',
      unit: null,
      readOnly: null,
      ...{ hbaText: '', identText: '', autoConf: '', environment: [], externalPidFile: null },
      ...{ managers: [], traces: [], diskBytes: 1e11 },
    },
    hba: { lines: [], problems: [] },
    ident: { lines: [], problems: [] },
    uid: 0,
    owner: undefined,
    endArchiving: false,
  }
}
