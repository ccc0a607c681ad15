/**
 * Which parameters of PostgreSQL a user may set, and why not the others: a parameter is refused when it would break replication,
 * durability or the agent's hold on its PostgreSQL. PURE.
 */

import {
  isSettingName,
  isSettingValue,
  type ParameterValue,
  parseBoolean,
  parseCount,
  parseMegabytes,
  valueText,
} from './setting-text.ts'
import { LEAST_WAL_KEEP_MB, LEAST_WALSENDERS, NEEDED_SLOTS } from './sizing.ts'

export type ParameterVerdict =
  | { readonly kind: 'allowed' }
  | { readonly kind: 'refused'; readonly reason: string }

interface Rule {
  readonly reason: string
  /** Left out: refused with any value. */
  readonly allows?: (value: string) => boolean
  /** The first major version that knows it, and the last; left out: all that we support. */
  readonly since?: number
  readonly until?: number
}

const isOn = (value: string): boolean => parseBoolean(value) === true
const isOff = (value: string): boolean => parseBoolean(value) === false
const isZero = (value: string): boolean => /^\s*0+\s*[A-Za-z]*\s*$/.test(value)
const atLeast =
  (least: number, parse: (text: string) => number | null) =>
  (value: string): boolean => {
    const number = parse(value)
    return number !== null && number >= least
  }

function owned(reason: string, ...names: readonly string[]): readonly (readonly [string, Rule])[] {
  return names.map((name) => [name, { reason }] as const)
}

const FILES =
  'understudy decides which files the server reads; it would otherwise run with other settings than are shown'
const ADDRESS =
  'understudy sets it from the node’s address: the other nodes, the proxy and the agent look for it there'
const TLS =
  'nodes trust each other through the cluster’s own certificates, which understudy sets up and renews'
const UPSTREAM =
  'understudy decides from whom a standby streams; a stale upstream could acknowledge what is then lost'
const RECOVERY = 'recovery is steered by understudy: a standby must follow the newest timeline to its end'
const ARCHIVE =
  'archiving is not managed yet; a command of one’s own would run on every node and mix their timelines'
const LOG = 'understudy finds out why a start failed from this log, and keeps a week of it'
const TIMER = 'it follows from `rto`: set that instead, and every timer fits together'
const MEMORY = 'it would hide damage of data instead of reporting it'

const RULES: ReadonlyMap<string, Rule> = new Map<string, Rule>([
  ...owned(FILES, 'data_directory', 'config_file', 'hba_file', 'ident_file', 'external_pid_file'),
  ...owned(FILES, 'include', 'include_if_exists', 'include_dir'),
  ...owned(ADDRESS, 'port', 'listen_addresses', 'unix_socket_directories', 'unix_socket_group'),
  ...owned(ADDRESS, 'unix_socket_permissions', 'bonjour', 'bonjour_name'),
  ...owned('it marks the processes of this node in the process list, and must be its name', 'cluster_name'),
  ...owned(UPSTREAM, 'primary_conninfo', 'primary_slot_name', 'synchronous_standby_names'),
  ...owned(UPSTREAM, 'promote_trigger_file', 'wal_receiver_create_temp_slot', 'sync_replication_slots'),
  ...owned(UPSTREAM, 'synchronized_standby_slots'),
  ...owned(RECOVERY, 'recovery_end_command', 'recovery_init_sync_method', 'trace_recovery_messages'),
  ...owned(
    ARCHIVE,
    'archive_mode',
    'archive_command',
    'archive_library',
    'archive_timeout',
    'restore_command',
  ),
  ...owned(ARCHIVE, 'archive_cleanup_command'),
  ...owned(LOG, 'log_destination', 'logging_collector', 'log_directory', 'log_filename', 'log_file_mode'),
  ...owned(LOG, 'log_rotation_age', 'log_rotation_size', 'log_truncate_on_rotation', 'log_line_prefix'),
  ...owned(LOG, 'event_source', 'syslog_facility', 'syslog_ident', 'lc_messages'),
  ...owned(TIMER, 'wal_sender_timeout', 'wal_receiver_timeout', 'wal_receiver_status_interval'),
  ...owned(TIMER, 'wal_retrieve_retry_interval'),
  ...owned(
    'understudy checks postgresql.auto.conf by itself, whichever way this is set',
    'allow_alter_system',
  ),
  [
    'recovery_min_apply_delay',
    { reason: 'delayed standbys are not managed yet: an election must know which they are', allows: isZero },
  ],
  [
    'wal_level',
    {
      reason: 'replication needs at least `replica`',
      allows: (v) => /^(replica|logical|archive|hot_standby)$/i.test(v.trim()),
    },
  ],
  [
    'max_wal_senders',
    {
      reason: `replication needs at least ${LEAST_WALSENDERS}, on every node`,
      allows: atLeast(LEAST_WALSENDERS, parseCount),
    },
  ],
  [
    'max_replication_slots',
    {
      reason: `replication needs at least ${NEEDED_SLOTS}, on every node`,
      allows: atLeast(NEEDED_SLOTS, parseCount),
    },
  ],
  [
    'max_connections',
    { reason: 'the agents, the proxy and a superuser need at least 20', allows: atLeast(20, parseCount) },
  ],
  [
    'hot_standby',
    { reason: 'standbys must answer queries: that is how they are seen to replay', allows: isOn },
  ],
  [
    'wal_log_hints',
    { reason: 'without it an old primary cannot be rewound and must be cloned', allows: isOn },
  ],
  [
    'fsync',
    { reason: 'without it an acknowledged commit may be lost, and the whole cluster damaged', allows: isOn },
  ],
  ['full_page_writes', { reason: 'without it a crash can damage pages', allows: isOn }],
  [
    'data_sync_retry',
    { reason: 'a failed fsync must end the server: what it lost cannot be written again', allows: isOff },
  ],
  ['zero_damaged_pages', { reason: MEMORY, allows: isOff }],
  ['ignore_checksum_failure', { reason: MEMORY, allows: isOff }],
  ['ignore_invalid_pages', { reason: MEMORY, allows: isOff }],
  ['ignore_system_indexes', { reason: MEMORY, allows: isOff }],
  [
    'synchronous_commit',
    {
      reason:
        'a lower value acknowledges commits that no standby has, for every client at once; choose `durability: async` for the ' +
        'cluster, or set it in the session or role that can bear it',
      allows: (v) => parseBoolean(v) === true || /^remote_apply$/i.test(v.trim()),
    },
  ],
  [
    'restart_after_crash',
    { reason: 'after a backend’s crash PostgreSQL is back sooner than any failover', allows: isOn },
  ],
  [
    'password_encryption',
    { reason: 'md5 passwords cannot log in here', allows: (v) => /^scram-sha-256$/i.test(v.trim()) },
  ],
  [
    'wal_keep_size',
    {
      reason: `a standby that restarts needs at least ${LEAST_WAL_KEEP_MB} MB`,
      allows: atLeast(LEAST_WAL_KEEP_MB, parseMegabytes),
    },
  ],
  [
    'max_slot_wal_keep_size',
    {
      reason: `it must be finite, or a standby that is gone fills the primary’s disk, and at least ${LEAST_WAL_KEEP_MB} MB`,
      allows: atLeast(LEAST_WAL_KEEP_MB, parseMegabytes),
    },
  ],
  [
    'idle_replication_slot_timeout',
    { reason: 'it would take away the slot of a standby that is only stopped', allows: isZero, since: 18 },
  ],
])

const PREFIXES: readonly (readonly [string, string])[] = [
  ['ssl', TLS],
  ['recovery_target', RECOVERY],
]

/** Names that only some of our versions know: a line with an unknown one keeps the server from starting. */
const KNOWN_IN: ReadonlyMap<string, readonly [since: number, until: number]> = new Map([
  ['promote_trigger_file', [15, 15]],
  ['reserved_connections', [16, 99]],
  ['transaction_timeout', [17, 99]],
  ['summarize_wal', [17, 99]],
  ['io_combine_limit', [17, 99]],
  ['io_method', [18, 99]],
  ['io_workers', [18, 99]],
  ['old_snapshot_threshold', [15, 16]],
  ['vacuum_defer_cleanup_age', [15, 15]],
])

/** Whether `name = value` may stand in the configuration of PostgreSQL `major`; the reason is a sentence for the user. */
export function parameterVerdict(name: string, value: ParameterValue, major: number): ParameterVerdict {
  if (!isSettingName(name)) return refused('it is not a name that PostgreSQL could have')
  const text = valueText(value)
  if (!isSettingValue(text)) return refused('its value has a line break or another control character')
  if (typeof value === 'number' && !Number.isFinite(value)) return refused('its value is not a number')
  const key = name.toLowerCase()
  const prefix = PREFIXES.find(([start]) => key === start || key.startsWith(`${start}_`))
  if (prefix !== undefined) return refused(prefix[1])
  const rule = RULES.get(key)
  if (rule !== undefined && rule.allows?.(text) !== true) return refused(rule.reason)
  const known = KNOWN_IN.get(key)
  if (known !== undefined && (major < known[0] || major > known[1])) {
    return refused(`PostgreSQL ${major} does not know it and would not start`)
  }
  return { kind: 'allowed' }
}

function refused(reason: string): ParameterVerdict {
  return { kind: 'refused', reason }
}
