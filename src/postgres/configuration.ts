/**
 * The text of a node's configuration files. They are written for a person who learns replication as much as for PostgreSQL: each
 * line has its reason. PURE.
 */
import type { Member, RefusedParameter, ReplicationConfiguration } from '../ports/postgres.ts'
import { hbaLineProblem, renderHba } from './hba.ts'
import { type NodeLayout, REPLICATION_ROLE, slotName } from './layout.ts'
import { parameterVerdict } from './parameters.ts'
import type { TlsPaths } from './preflight.ts'
import {
  type ParameterValue,
  quoteConninfo,
  quoteSetting,
  settingLine,
  type UserParameters,
} from './setting-text.ts'
import { NEEDED_SLOTS, NEEDED_WALSENDERS, replicationTimings, slotWalKeepMb, walKeepMb } from './sizing.ts'

export interface ConfigurationInput {
  readonly node: string
  readonly major: number
  readonly port: number
  readonly listenAddresses: readonly string[]
  readonly socketDirectory: string
  readonly layout: NodeLayout
  readonly tls: TlsPaths
  readonly members: readonly Member[]
  readonly parameters: UserParameters
  readonly extraHba: readonly string[]
  readonly rtoMs: number
  /** Size of the file system that holds the data. */
  readonly diskBytes: number
}

export interface RenderedConfiguration {
  /** File name below conf/ → content. */
  readonly files: ReadonlyMap<string, string>
  readonly refused: readonly RefusedParameter[]
}

export const REPLICATION_FILE = 'replication.conf'

export function renderConfiguration(
  input: ConfigurationInput,
  replication: ReplicationConfiguration,
): RenderedConfiguration {
  const user = renderUser(input)
  const hba = sortHba(input.extraHba)
  return {
    files: new Map([
      ['postgresql.conf', MAIN],
      ['user.conf', user.text],
      ['base.conf', renderBase(input)],
      [REPLICATION_FILE, renderReplication(input, replication)],
      ['pg_hba.conf', renderHba(input.members, hba.taken)],
      [
        'pg_ident.conf',
        '# Written by understudy. No operating system user is mapped to a role: everybody has a password.\n',
      ],
    ]),
    refused: [...user.refused, ...hba.refused],
  }
}

const MAIN = `# Written by understudy: edits here are lost. A later line wins over an earlier one, so the order below is who decides.

# What the user set (configuration: postgres.parameters), as far as it can be allowed.
include 'user.conf'

# What replication, security and the agent need.
include 'base.conf'

# The role of this node right now: from whom it streams, and who must acknowledge its commits.
include '${REPLICATION_FILE}'

# PostgreSQL reads postgresql.auto.conf (ALTER SYSTEM) after all of these. understudy comments out what would break the cluster there.
`

function renderUser(input: ConfigurationInput): { text: string; refused: readonly RefusedParameter[] } {
  const lines = ['# The parameters from the configuration. Written by understudy: edits here are lost.', '']
  const refused: RefusedParameter[] = []
  for (const [name, value] of Object.entries(input.parameters)) {
    const verdict = parameterVerdict(name, value, input.major)
    if (verdict.kind === 'allowed') {
      lines.push(settingLine(name, value))
    } else {
      refused.push({ name, reason: verdict.reason, origin: 'configuration' })
      lines.push(`# refused: ${JSON.stringify(name)}: ${verdict.reason}`)
    }
  }
  return { text: `${lines.join('\n')}\n`, refused }
}

function sortHba(extra: readonly string[]): {
  taken: readonly string[]
  refused: readonly RefusedParameter[]
} {
  const taken: string[] = []
  const refused: RefusedParameter[] = []
  for (const line of extra) {
    const problem = hbaLineProblem(line)
    if (problem === null) taken.push(line)
    else
      refused.push({ name: `pg_hba line ${JSON.stringify(line)}`, reason: problem, origin: 'configuration' })
  }
  return { taken, refused }
}

interface Line {
  readonly name: string
  readonly value: ParameterValue
  readonly why: string
  /** A value that the user may replace; the others are refused by parameterVerdict. */
  readonly yields?: boolean
}

function renderBase(input: ConfigurationInput): string {
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
      name: 'restart_after_crash',
      value: true,
      why: 'A crashed backend costs a restart of some ten milliseconds, no failover.',
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

function renderReplication(input: ConfigurationInput, replication: ReplicationConfiguration): string {
  const { upstream } = replication
  const role =
    replication.role === 'primary' ? 'This node is primary.' : 'This node is a standby (data/standby.signal).'
  return `# Written by understudy at every change of roles: edits here are lost.
# ${role}

# How to reach the node that this one streams from. Its password stands in a passfile of this epoch only: removing that file is how the
# node makes sure that it takes nothing more from an old primary.
primary_conninfo = ${quoteSetting(upstream === null ? '' : conninfo(input, upstream))}

# The upstream keeps the WAL that this node has not taken yet.
primary_slot_name = ${quoteSetting(upstream === null ? '' : slotName(input.node))}

# Who must have flushed a commit before it is acknowledged. Standbys carry it too: a promoted one waits from its first commit on.
synchronous_standby_names = ${quoteSetting(replication.synchronousStandbyNames)}
`
}

function conninfo(
  input: ConfigurationInput,
  upstream: NonNullable<ReplicationConfiguration['upstream']>,
): string {
  const timings = replicationTimings(input.rtoMs)
  const parts: readonly (readonly [string, string])[] = [
    ['host', upstream.host],
    ['port', String(upstream.port)],
    ['user', REPLICATION_ROLE],
    // Its walsender goes by this name, in pg_stat_replication and in synchronous_standby_names.
    ['application_name', input.node],
    ['passfile', upstream.passfile],
    ['sslmode', 'verify-full'],
    ['sslrootcert', input.tls.ca],
    ['connect_timeout', String(timings.connectTimeoutS)],
    ['keepalives', '1'],
    ['keepalives_idle', String(timings.keepalivesIdleS)],
    ['keepalives_interval', String(timings.keepalivesIntervalS)],
    ['keepalives_count', String(timings.keepalivesCount)],
    ['tcp_user_timeout', String(timings.tcpUserTimeoutMs)],
    // Without it libpq first looks for Kerberos credentials, which can take seconds.
    ['gssencmode', 'disable'],
  ]
  return parts.map(([key, value]) => `${key}=${quoteConninfo(value)}`).join(' ')
}
