/** base.conf: what every node needs whatever its role, each line with its reason. PURE. */
import type { ConfigurationInput } from './configuration-input.ts'
import { parameterVerdict } from './parameters.ts'
import { type ParameterValue, settingLine } from './setting-text.ts'
import { NEEDED_SLOTS, NEEDED_WALSENDERS, replicationTimings, slotWalKeepMb, walKeepMb } from './sizing.ts'

interface Line {
  readonly name: string
  readonly value: ParameterValue
  readonly why: string
  /** A value that the user may replace; the others are refused by parameterVerdict. */
  readonly yields?: boolean
}

export function renderBase(input: ConfigurationInput): string {
  const set = new Set(
    Object.entries(input.parameters)
      .filter(([name, value]) => parameterVerdict(name, value, input.major).kind === 'allowed')
      .map(([name]) => name.toLowerCase()),
  )
  const sections = [
    ['Where this server is found', addressLines(input)],
    ['Who may come in, and encryption', securityLines(input)],
    ['What every node needs to be primary or standby at any moment', replicationLines(input)],
    ['Timers of the streams, derived from rto', timerLines(input)],
    ['Logs', logLines(input)],
    ['Defaults, yours to change', defaultLines(input)],
  ] as const
  const body = sections.map(([title, lines]) => {
    const shown = lines.filter((line) => line.yields !== true || !set.has(line.name))
    return `# --- ${title}\n${shown.map((line) => `# ${line.why}\n${settingLine(line.name, line.value)}`).join('\n')}\n`
  })
  return `# Written by understudy: edits here are lost. Set your own parameters in the configuration (postgres.parameters).\n\n${body.join('\n')}`
}

function addressLines(input: ConfigurationInput): readonly Line[] {
  return [
    { name: 'port', value: input.port, why: 'Each node of a local cluster has its own.' },
    {
      name: 'listen_addresses',
      value: input.listenAddresses.join(','),
      why: 'Where members, proxy and clients come in.',
    },
    {
      name: 'unix_socket_directories',
      value: `"${input.socketDirectory.replaceAll('"', '""')}"`,
      why: 'A short directory: the path of a socket ends at 107 bytes. The agent looks through it.',
    },
    {
      name: 'cluster_name',
      value: input.node,
      why: 'Stands in the title of each process, and is how orphans are known again.',
    },
  ]
}

function securityLines(input: ConfigurationInput): readonly Line[] {
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

function replicationLines(input: ConfigurationInput): readonly Line[] {
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
      why: 'A standby that is gone may hold back this much WAL and no more: a full disk would stop the primary.',
    },
    {
      name: 'wal_keep_size',
      value: `${walKeepMb(input.diskBytes)}MB`,
      yields: true,
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

function timerLines(input: ConfigurationInput): readonly Line[] {
  const timings = replicationTimings(input.rtoMs)
  return [
    {
      name: 'wal_receiver_timeout',
      value: `${timings.walReceiverTimeoutMs}ms`,
      why: `Silence of the upstream for this long ends the stream (rto is ${input.rtoMs} ms); asked for a sign of life at half of it.`,
    },
    {
      name: 'wal_sender_timeout',
      value: `${timings.walSenderTimeoutMs}ms`,
      why: 'A standby’s silence is no emergency: its disk may be slow.',
    },
    {
      name: 'wal_receiver_status_interval',
      value: `${timings.walReceiverStatusIntervalS}s`,
      why: 'How old a position can be that a standby reported.',
    },
  ]
}

function logLines(input: ConfigurationInput): readonly Line[] {
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

function defaultLines(input: ConfigurationInput): readonly Line[] {
  const lines: Line[] = [
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
