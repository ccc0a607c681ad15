/** base.conf: what every node needs whatever its role, each line with its reason. PURE. */
import type { ConfigurationInput } from './configuration-input.ts'
import { parameterVerdict } from './parameters.ts'
import { type ParameterValue, settingLine } from './setting-text.ts'
import {
  NEEDED_SLOTS,
  NEEDED_WALSENDERS,
  replicationTimings,
  STREAM_TIMERS,
  slotWalKeepMb,
  walKeepMb,
} from './sizing.ts'

export interface Setting {
  readonly name: string
  readonly value: ParameterValue
  readonly why: string
  /** How a derived value came about; left out where it is what it is. */
  readonly from?: string
  /** It can only be known on the node's own machine. */
  readonly ofDisk?: true
  /** It is right only where an agent looks after the server. */
  readonly ofAgent?: true
  /** A value that the user may replace; the others are refused by parameterVerdict. */
  readonly yields?: boolean
}

export interface SettingGroup {
  readonly title: string
  readonly settings: readonly Setting[]
}

export function renderBase(input: ConfigurationInput): string {
  return `# Written by understudy: edits here are lost. Set your own parameters in the configuration (postgres.parameters).\n\n${renderBaseSettings(input)}`
}

/** The settings alone, without what is said about the file. */
export function renderBaseSettings(input: ConfigurationInput): string {
  const set = userSet(input)
  return baseSettings(input)
    .map(({ title, settings }) => {
      const shown = settings.filter((setting) => setting.yields !== true || !set.has(setting.name))
      return `# --- ${title}\n${renderSettings(shown)}`
    })
    .join('\n')
}

/** Each with its reason above it. */
export function renderSettings(settings: readonly Setting[]): string {
  return settings.map(({ name, value, why }) => `# ${why}\n${settingLine(name, value)}\n`).join('')
}

/** The names, in lower case, of the user's parameters that are taken. */
export function userSet(input: Pick<ConfigurationInput, 'parameters' | 'major'>): ReadonlySet<string> {
  return new Set(
    Object.entries(input.parameters)
      .filter(([name, value]) => parameterVerdict(name, value, input.major).kind === 'allowed')
      .map(([name]) => name.toLowerCase()),
  )
}

export function baseSettings(input: ConfigurationInput): readonly SettingGroup[] {
  return [
    { title: 'Where this server is found', settings: addressLines(input) },
    { title: 'Who may come in, and encryption', settings: securityLines(input) },
    {
      title: 'What every node needs to be primary or standby at any moment',
      settings: replicationLines(input),
    },
    { title: 'Timers of the streams, derived from rto', settings: timerLines(input) },
    { title: 'Logs', settings: logLines(input) },
    { title: 'Defaults, yours to change', settings: defaultLines(input) },
  ]
}

function addressLines(input: ConfigurationInput): readonly Setting[] {
  return [
    {
      name: 'port',
      value: input.port,
      why: 'Where members, proxy and clients find it; on one machine each node has its own.',
    },
    {
      name: 'listen_addresses',
      value: input.listenAddresses.join(','),
      why: 'Where members, proxy and clients come in.',
    },
    {
      name: 'unix_socket_directories',
      value: directoryList(input.socketDirectory),
      why: 'A short directory: the path of a socket ends at 107 bytes. The agent looks through it.',
    },
    {
      name: 'cluster_name',
      value: input.node,
      why: 'Stands in the title of each process, and is how orphans are known again.',
    },
  ]
}

function securityLines(input: ConfigurationInput): readonly Setting[] {
  const { confDir } = input.layout
  return [
    {
      name: 'hba_file',
      value: `${confDir}/pg_hba.conf`,
      why: 'Outside the data directory: a clone or rewind must not bring another node’s.',
    },
    { name: 'ident_file', value: `${confDir}/pg_ident.conf`, why: 'As above.' },
    {
      name: 'password_encryption',
      value: 'scram-sha-256',
      why: 'A stolen verifier does not let anybody log in.',
    },
    { name: 'ssl', value: true, why: 'Passwords, data and WAL cross the network encrypted.' },
    {
      name: 'ssl_cert_file',
      value: input.tls.certificate,
      why: 'Issued for this node’s names by the cluster’s own authority.',
    },
    {
      name: 'ssl_key_file',
      value: input.tls.key,
      why: 'Readable by its owner only, or PostgreSQL refuses it.',
    },
    {
      name: 'ssl_ca_file',
      value: input.tls.ca,
      why: 'Certificates of clients are checked against the cluster’s authority.',
    },
    { name: 'ssl_min_protocol_version', value: 'TLSv1.2', why: 'Older ones are broken.' },
  ]
}

function replicationLines(input: ConfigurationInput): readonly Setting[] {
  return [
    { name: 'wal_level', value: 'replica', yields: true, why: 'WAL carries what a standby needs.' },
    {
      name: 'max_wal_senders',
      value: NEEDED_WALSENDERS,
      yields: true,
      why: 'One per standby that streams and per clone under way. Equal on all nodes: a standby with fewer does not start.',
    },
    {
      name: 'max_replication_slots',
      value: NEEDED_SLOTS,
      yields: true,
      why: 'Every node keeps a slot for every other one, so that any can take over.',
    },
    {
      name: 'max_slot_wal_keep_size',
      value: `${slotWalKeepMb(input.diskBytes)}MB`,
      yields: true,
      ofDisk: true,
      from: 'a tenth of the disk, from 512 MB to 64 GB',
      why: 'A standby that is gone may hold back this much WAL and no more: a full disk would stop the primary.',
    },
    {
      name: 'wal_keep_size',
      value: `${walKeepMb(input.diskBytes)}MB`,
      yields: true,
      ofDisk: true,
      from: 'a quarter of max_slot_wal_keep_size, from 64 MB to 1 GB',
      why: 'For the moments in which a standby’s slot does not exist yet.',
    },
    { name: 'hot_standby', value: true, why: 'Standbys answer queries.' },
    {
      name: 'hot_standby_feedback',
      value: false,
      yields: true,
      why: 'A long query on a standby must not keep the primary from cleaning up; a slot would even remember it after the standby is gone.',
    },
    {
      name: 'wal_log_hints',
      value: true,
      why: 'pg_rewind can bring an old primary back without a new clone.',
    },
    {
      name: 'recovery_target_timeline',
      value: 'latest',
      why: 'A standby follows its primary through promotions.',
    },
    {
      name: 'wal_retrieve_retry_interval',
      value: '100ms',
      why: 'How long a standby waits between attempts to reach its upstream. The default, 5 s, would be the longest part of a failover.',
    },
  ]
}

function timerLines(input: ConfigurationInput): readonly Setting[] {
  const timings = replicationTimings(input.rtoMs)
  const { walReceiverTimeoutMs, walSenderTimeoutMs, walReceiverStatusIntervalS } = STREAM_TIMERS
  return [
    {
      name: 'wal_receiver_timeout',
      value: `${timings.walReceiverTimeoutMs}ms`,
      why: walReceiverTimeoutMs.why,
      from: walReceiverTimeoutMs.from,
    },
    {
      name: 'wal_sender_timeout',
      value: `${timings.walSenderTimeoutMs}ms`,
      why: walSenderTimeoutMs.why,
      from: walSenderTimeoutMs.from,
    },
    {
      name: 'wal_receiver_status_interval',
      value: `${timings.walReceiverStatusIntervalS}s`,
      why: walReceiverStatusIntervalS.why,
      from: walReceiverStatusIntervalS.from,
    },
  ]
}

function logLines(input: ConfigurationInput): readonly Setting[] {
  return [
    {
      name: 'logging_collector',
      value: true,
      why: 'The server outlives the agent, so its log cannot go through the agent.',
    },
    { name: 'log_destination', value: 'stderr', why: 'Into the collector’s files.' },
    {
      name: 'log_directory',
      value: input.layout.logDir,
      why: 'Beside the data directory, so that replacing that does not lose the log.',
    },
    { name: 'log_filename', value: 'postgresql-%a.log', why: 'One file per weekday …' },
    { name: 'log_rotation_age', value: '1d', why: '… begun anew each day …' },
    { name: 'log_rotation_size', value: 0, why: '… and not by size …' },
    {
      name: 'log_truncate_on_rotation',
      value: true,
      why: '… overwriting last week’s: a week of logs and no more.',
    },
    { name: 'log_file_mode', value: '0600', why: 'Statements in logs can hold data.' },
    {
      name: 'log_line_prefix',
      value: '%m [%p] %e %q%u@%d %h ',
      why: 'When, which process, SQLSTATE, who, where from.',
    },
    { name: 'lc_messages', value: 'C', why: 'English: understudy reads why a start failed.' },
  ]
}

function defaultLines(input: ConfigurationInput): readonly Setting[] {
  const lines: Setting[] = [
    {
      name: 'max_connections',
      value: 100,
      yields: true,
      why: 'Raise it on standbys first: one with less than its primary stops replaying.',
    },
    {
      name: 'shared_buffers',
      value: '128MB',
      yields: true,
      why: 'A quarter of the memory is a good start on a machine of its own.',
    },
    { name: 'timezone', value: 'Etc/UTC', yields: true, why: 'Equal on all nodes, wherever they stand.' },
    {
      name: 'log_timezone',
      value: 'Etc/UTC',
      yields: true,
      why: 'Logs of several nodes can be laid side by side.',
    },
    {
      name: 'log_checkpoints',
      value: true,
      yields: true,
      why: 'The first thing to look at when writing is slow.',
    },
  ]
  if (input.major >= 16) {
    lines.push({
      name: 'reserved_connections',
      value: 3,
      yields: true,
      why: 'The agent gets in even when clients have taken every connection.',
    })
  }
  return lines
}

/** A list of one, in which quotes are for what would end it. Debian's tools read this setting, too, and know of no quotes. */
function directoryList(directory: string): string {
  return /[",\s]/.test(directory) ? `"${directory.replaceAll('"', '""')}"` : directory
}
