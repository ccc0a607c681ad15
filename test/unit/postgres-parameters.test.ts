/** Which parameters a user may set; each refusal has its reason. */
import { describe, expect, test } from 'vitest'
import { renderBase } from '../../src/postgres/base-configuration.ts'
import { parameterVerdict } from '../../src/postgres/parameters.ts'
import { parseLine } from '../../src/postgres/setting-text.ts'
import { configurationInput } from '../postgres/configuration-input.ts'

const refusal = (name: string, value: string | number | boolean, major = 15): string | null => {
  const verdict = parameterVerdict(name, value, major)
  return verdict.kind === 'refused' ? verdict.reason : null
}

describe('refused, with the reason', () => {
  test.each<[string, string | number | boolean, RegExp]>([
    ['data_directory', '/elsewhere', /which files the server reads/],
    ['config_file', 'x', /which files/],
    ['hba_file', 'x', /which files/],
    ['ident_file', 'x', /which files/],
    ['include', 'x.conf', /which files/],
    ['port', 5432, /from the node’s address/],
    ['listen_addresses', '*', /from the node’s address/],
    ['unix_socket_directories', '/tmp', /from the node’s address/],
    ['ssl', false, /own certificates/],
    ['ssl_cert_file', 'x', /own certificates/],
    ['ssl_min_protocol_version', 'TLSv1', /own certificates/],
    ['cluster_name', 'x', /marks the processes/],
    ['wal_level', 'minimal', /at least `replica`/],
    ['max_wal_senders', 9, /at least 10/],
    ['max_wal_senders', 'many', /at least 10/],
    ['max_replication_slots', 5, /at least 20/],
    ['hot_standby', 'off', /must answer queries/],
    ['hot_standby', false, /must answer queries/],
    ['wal_log_hints', 'f', /rewound/],
    ['fsync', 'OFF', /acknowledged commit/],
    ['fsync', 'of', /acknowledged commit/],
    ['fsync', 0, /acknowledged commit/],
    ['full_page_writes', 'no', /damage pages/],
    ['synchronous_commit', 'off', /durability: async/],
    ['synchronous_commit', 'local', /durability: async/],
    ['synchronous_commit', 'remote_write', /durability: async/],
    ['synchronous_standby_names', '*', /from whom a standby streams/],
    ['primary_conninfo', '', /from whom a standby streams/],
    ['primary_slot_name', '', /from whom a standby streams/],
    ['restore_command', 'cp', /archiving is not managed/],
    ['archive_mode', 'on', /archiving is not managed/],
    ['archive_command', 'cp', /archiving is not managed/],
    ['recovery_target', 'immediate', /newest timeline/],
    ['recovery_target_timeline', 'current', /newest timeline/],
    ['recovery_min_apply_delay', '5min', /delayed standbys/],
    ['log_directory', 'x', /why a start failed/],
    ['logging_collector', false, /why a start failed/],
    ['wal_sender_timeout', '60s', /follows from `rto`/],
    ['wal_receiver_timeout', 0, /follows from `rto`/],
    ['allow_alter_system', false, /postgresql.auto.conf/],
    ['password_encryption', 'md5', /cannot log in/],
    ['wal_keep_size', 0, /at least 64 MB/],
    ['wal_keep_size', '65535kB', /at least 64 MB/],
    ['max_slot_wal_keep_size', -1, /finite/],
    ['restart_after_crash', false, /sooner than any failover/],
    ['zero_damaged_pages', true, /hide damage/],
    ['data_sync_retry', 'on', /must end the server/],
    ['max_connections', 10, /at least 20/],
  ])('%s = %s', (name, value, reason) => {
    expect(refusal(name, value)).toMatch(reason)
    expect(refusal(name.toUpperCase(), value), 'PostgreSQL compares names without case').toMatch(reason)
  })
})

describe('allowed', () => {
  test.each<[string, string | number | boolean]>([
    ['work_mem', '64MB'],
    ['shared_buffers', 16384],
    ['max_connections', 200],
    ['wal_level', 'logical'],
    ['max_wal_senders', 10],
    ['max_wal_senders', '0x20'],
    ['hot_standby', true],
    ['fsync', 'yes'],
    ['synchronous_commit', 'remote_apply'],
    ['synchronous_commit', 'on'],
    ['recovery_min_apply_delay', 0],
    ['wal_keep_size', '1GB'],
    ['max_slot_wal_keep_size', '100GB'],
    ['hot_standby_feedback', true],
    ['recovery_prefetch', 'try'],
    ['log_min_duration_statement', '250ms'],
    ['pg_stat_statements.max', 5000],
    ['auto_explain.log_min_duration', '1s'],
  ])('%s = %s', (name, value) => {
    expect(refusal(name, value)).toBeNull()
  })
})

test.each([
  ['', 'x'],
  ['work mem', 'x'],
  ["a' = 'b", 'x'],
  ['work_mem\nfsync', 'off'],
  ['work_mem', "64MB'\nfsync = 'off"],
  ['work_mem', 'a\0b'],
  ['work_mem', Number.NaN],
])('what is no name or no value: %j = %j', (name, value) => {
  expect(refusal(name, value)).not.toBeNull()
})

test.each<[string, number, boolean]>([
  ['io_workers', 17, false],
  ['io_workers', 18, true],
  ['transaction_timeout', 16, false],
  ['transaction_timeout', 17, true],
])('%s on PostgreSQL %i', (name, major, allowed) => {
  expect(refusal(name, 3, major) === null).toBe(allowed)
})

test('whatever base.conf sets for good is refused from a user with another value', () => {
  const defaults = [
    'wal_level',
    'max_wal_senders',
    'max_replication_slots',
    'max_slot_wal_keep_size',
    'wal_keep_size',
  ]
  const free = [
    'hot_standby_feedback',
    'max_connections',
    'shared_buffers',
    'timezone',
    'log_timezone',
    'log_checkpoints',
    'reserved_connections',
  ]
  for (const line of renderBase(configurationInput({ major: 18 })).split('\n')) {
    const parsed = parseLine(line)
    if (parsed.kind !== 'setting' || free.includes(parsed.name) || defaults.includes(parsed.name)) continue
    // The opposite of a switch, and nonsense for the rest.
    const other = parsed.value === 'on' ? 'off' : 'another'
    expect(refusal(parsed.name, other, 18), parsed.name).not.toBeNull()
  }
})
