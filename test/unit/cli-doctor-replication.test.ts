/** What the facts of a primary mean: each finding where it begins to be one. */
import { describe, expect, test } from 'vitest'
import type { Finding } from '../../src/cli/doctor/check.ts'
import { judgeClocks, judgePeers } from '../../src/cli/doctor/members.ts'
import { singleHosts } from '../../src/cli/doctor/replication/connect.ts'
import type {
  HbaFacts,
  ReplicationFacts,
  SlotFacts,
  StandbyFacts,
} from '../../src/cli/doctor/replication/facts.ts'
import { judgeReplication } from '../../src/cli/doctor/replication/judge.ts'
import { matching, parseSyncNames } from '../../src/cli/doctor/replication/sync-names.ts'

const SETTINGS = {
  ...{
    wal_level: 'replica',
    max_wal_senders: '10',
    max_replication_slots: '10',
    max_slot_wal_keep_size: '10GB',
  },
  ...{ wal_keep_size: '0', hot_standby: 'on', wal_log_hints: 'off', data_checksums: 'on' },
  ...{ synchronous_standby_names: 'ANY 1 (bravo, charlie)', synchronous_commit: 'on', archive_mode: 'on' },
  ...{ archive_command: 'cp %p /srv/wal/%f', archive_library: '', wal_sender_timeout: '1min', fsync: 'on' },
  ...{ full_page_writes: 'on', password_encryption: 'scram-sha-256', ssl: 'on' },
}

const standby = (name: string, more: Partial<StandbyFacts> = {}): StandbyFacts => ({
  ...{ pid: 1, name, user: 'replicator', address: '10.0.0.2', state: 'streaming', syncState: 'quorum' },
  ...{ behindBytes: 0, replayLagMs: null, xminAge: null, tls: true, hasSlot: true },
  ...more,
})

const slot = (name: string, more: Partial<SlotFacts> = {}): SlotFacts => ({
  ...{
    name,
    type: 'physical',
    active: true,
    temporary: false,
    heldBytes: 0,
    walStatus: 'reserved',
    xminAge: null,
  },
  ...more,
})

const line = (more: Partial<HbaFacts> = {}): HbaFacts => ({
  ...{ line: 90, type: 'hostssl', databases: ['replication'], users: ['replicator'], address: '10.0.0.2' },
  ...{ netmask: '255.255.255.255', method: 'scram-sha-256', error: null },
  ...more,
})

const WELL: ReplicationFacts = {
  ...{ version: '17.2', inRecovery: false, upstream: null, settings: new Map(Object.entries(SETTINGS)) },
  standbys: [standby('bravo'), standby('charlie')],
  slots: [slot('bravo'), slot('charlie')],
  hba: [line()],
  archiver: {
    archivedCount: 7,
    failedCount: 0,
    lastFailedWal: null,
    fails: false,
    failingForMs: null,
    waiting: 0,
  },
  ...{ replicationRoles: ['postgres', 'replicator'], seesAll: true, user: 'looker' },
}

interface Changes extends Partial<Omit<ReplicationFacts, 'settings'>> {
  readonly settings?: Readonly<Record<string, string>>
}

function judge({ settings = {}, ...more }: Changes = {}): readonly Finding[] {
  return judgeReplication({
    ...WELL,
    ...more,
    settings: new Map(Object.entries({ ...SETTINGS, ...settings })),
  })
}

const unwell = (changes: Changes): readonly (readonly [string, string])[] =>
  judge(changes)
    .filter(({ status }) => status !== 'ok')
    .map(({ id, status }) => [id, status] as const)

test('nothing is found where nothing is wrong', () => {
  expect(unwell({})).toEqual([])
})

test.each<readonly [string, Changes, string, string]>([
  ['WAL that is too thin', { settings: { wal_level: 'minimal' } }, 'wal-level', 'failed'],
  ['no walsenders', { settings: { max_wal_senders: '0' } }, 'walsenders', 'failed'],
  ['no spare walsender', { settings: { max_wal_senders: '3' } }, 'walsenders', 'warning'],
  ['a database that may break', { settings: { fsync: 'off' } }, 'crash-safety', 'failed'],
  ['no way to rewind', { settings: { data_checksums: 'off' } }, 'rewind', 'warning'],
  [
    'a standby far behind',
    { standbys: [standby('bravo', { behindBytes: 1e9 }), standby('charlie')] },
    'standbys',
    'warning',
  ],
  [
    'a standby late',
    { standbys: [standby('bravo', { replayLagMs: 90_000 }), standby('charlie')] },
    'standbys',
    'warning',
  ],
  [
    'a standby that copies',
    { standbys: [standby('bravo', { state: 'backup' }), standby('charlie')] },
    'standbys',
    'warning',
  ],
  [
    'a slot without consumer',
    { slots: [slot('old', { active: false, heldBytes: 5e6 })] },
    'slots',
    'warning',
  ],
  ['one that holds much', { slots: [slot('old', { active: false, heldBytes: 5e9 })] }, 'slots', 'failed'],
  ['one that is lost', { slots: [slot('old', { active: false, walStatus: 'lost' })] }, 'slots', 'failed'],
  ['all slots in use', { settings: { max_replication_slots: '2' } }, 'slots', 'warning'],
  ['slots without limit', { settings: { max_slot_wal_keep_size: '-1' } }, 'retention', 'warning'],
  [
    'nothing that keeps WAL for a standby',
    {
      standbys: [standby('bravo', { hasSlot: false }), standby('charlie')],
      settings: { archive_mode: 'off' },
    },
    'retention',
    'warning',
  ],
  [
    'commits that wait for ever',
    { standbys: [], settings: { synchronous_standby_names: 'bravo' } },
    'sync-names',
    'failed',
  ],
  [
    'a name of nobody',
    { settings: { synchronous_standby_names: 'ANY 1 (bravo, charlie, delta)' } },
    'sync-names',
    'warning',
  ],
  ['any name', { settings: { synchronous_standby_names: '*' } }, 'sync-names', 'warning'],
  [
    'no spare acknowledgement',
    { settings: { synchronous_standby_names: '2 (bravo, charlie)' } },
    'sync-names',
    'warning',
  ],
  ['names that nobody waits for', { settings: { synchronous_commit: 'local' } }, 'sync-names', 'warning'],
  [
    'dead rows of a standby',
    { standbys: [standby('bravo', { xminAge: 2e6 }), standby('charlie')] },
    'feedback',
    'warning',
  ],
  ['dead rows of a slot', { slots: [slot('bravo', { xminAge: 2e8 })] }, 'feedback', 'failed'],
  ['silence that nobody notices', { settings: { wal_sender_timeout: '0' } }, 'silence', 'warning'],
  [
    'a stream in the clear',
    { standbys: [standby('bravo', { tls: false }), standby('charlie')] },
    'encryption',
    'warning',
  ],
  ['weak passwords', { settings: { password_encryption: 'md5' } }, 'encryption', 'warning'],
  ['an archive to nowhere', { settings: { archive_command: '(disabled)' } }, 'archive', 'failed'],
  [
    'an archive that fails',
    { archiver: { ...none(), fails: true, failedCount: 3, failingForMs: 60_000 } },
    'archive',
    'failed',
  ],
  ['an archive that is slow', { archiver: { ...none(), waiting: 40 } }, 'archive', 'warning'],
  ['nobody let in', { hba: [line({ databases: ['all'] })] }, 'hba', 'failed'],
  ['a broken line', { hba: [line({ error: 'invalid connection type' })] }, 'hba', 'failed'],
  ['a stream without a line', { hba: [line({ users: ['other'] })] }, 'hba', 'warning'],
  ['trust', { hba: [line({ method: 'trust' })] }, 'hba', 'warning'],
  ['the whole world', { hba: [line({ address: '0.0.0.0', netmask: '0.0.0.0' })] }, 'hba', 'warning'],
  ['no privileges', { seesAll: false }, 'privileges', 'warning'],
])('%s is found, with what mends it', (_, changes, id, status) => {
  expect(unwell(changes)).toContainEqual([id, status])
  expect(judge(changes).find((each) => each.id === id)?.hint).toMatch(/\w{4}/)
})

function none(): NonNullable<ReplicationFacts['archiver']> {
  return {
    archivedCount: 0,
    failedCount: 0,
    lastFailedWal: null,
    fails: false,
    failingForMs: null,
    waiting: 0,
  }
}

describe('synchronous_standby_names', () => {
  test.each([
    ['', null],
    ['bravo', { method: 'first', count: 1, names: ['bravo'] }],
    ['2 (Bravo, "Charlie ""C""")', { method: 'first', count: 2, names: ['bravo', 'Charlie "C"'] }],
    ['any 1 (*)', { method: 'any', count: 1, names: ['*'] }],
    ['FIRST 1 ("any 2 (x)")', { method: 'first', count: 1, names: ['any 2 (x)'] }],
  ])('%j is read as PostgreSQL does', (text, expected) => {
    expect(parseSyncNames(text)).toEqual(expected)
  })

  test('counts each name once, whatever its case', () => {
    const names = { method: 'any', count: 1, names: ['Bravo', 'delta'] } as const
    expect(matching(names, ['bravo', 'BRAVO', 'charlie'])).toEqual(['bravo'])
  })
})

test('a URI of several hosts is taken apart, without what only libpq knows', () => {
  const url = 'postgresql://u:p%40x@db1:5433,[fd00::2]/app?target_session_attrs=read-write&sslmode=require'
  expect(singleHosts(url)).toEqual([
    'postgresql://u:p%40x@db1:5433/app?sslmode=require',
    'postgresql://u:p%40x@[fd00::2]/app?sslmode=require',
  ])
  expect(() => singleHosts('host=db1')).toThrow('no URI')
})

describe('the other nodes', () => {
  test('that are silent are a warning, because they may not have been started yet', () => {
    const silent = { node: 'bravo', failure: 'nothing listens there', aheadMs: null }
    expect(judgePeers([silent])).toMatchObject({ status: 'warning', message: 'bravo: nothing listens there' })
    expect(judgeClocks([silent])).toMatchObject({ status: 'ok' })
  })

  test('may be seconds apart by the clock, and not half a day', () => {
    const ahead = (aheadMs: number): Parameters<typeof judgeClocks>[0] => [
      { node: 'bravo', failure: null, aheadMs },
    ]
    expect(judgeClocks(ahead(-2_000)).status).toBe('ok')
    expect(judgeClocks(ahead(-60_000))).toMatchObject({ status: 'warning' })
    expect(judgeClocks(ahead(86_400_000))).toMatchObject({ status: 'failed' })
  })
})
