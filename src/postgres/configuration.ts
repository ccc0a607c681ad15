/**
 * The text of a node's configuration files. They are written for a person who learns replication as much as for PostgreSQL: each
 * line has its reason. PURE.
 */
import type { RefusedParameter, ReplicationConfiguration } from '../ports/postgres.ts'
import { renderBase } from './base-configuration.ts'
import type { ConfigurationInput } from './configuration-input.ts'
import { hbaLineProblem, renderHba } from './hba.ts'
import { REPLICATION_ROLE, slotName } from './layout.ts'
import { parameterVerdict } from './parameters.ts'
import { quoteConninfo, quoteSetting, settingLine } from './setting-text.ts'
import { type ReplicationTimings, replicationTimings, STREAM_TIMERS } from './sizing.ts'

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

# A crashed backend costs a primary a restart of some ten milliseconds, and no failover. A standby is started by its agent: by itself it would
# go for the newest timeline that it has heard of, beyond what it has of it, when it has not heard of everything.
restart_after_crash = ${replication.role === 'primary' ? 'on' : 'off'}
`
}

function conninfo(
  input: ConfigurationInput,
  upstream: NonNullable<ReplicationConfiguration['upstream']>,
): string {
  return conninfoParts(input, upstream)
    .map(({ name, value }) => `${name}=${quoteConninfo(value)}`)
    .join(' ')
}

export interface ConninfoPart {
  readonly name: string
  readonly value: string
  readonly why: string
  readonly from?: string
}

/** How a standby reaches its upstream (manual: 34.1.2). */
export function conninfoParts(
  input: Pick<ConfigurationInput, 'node' | 'rtoMs' | 'tls'>,
  upstream: NonNullable<ReplicationConfiguration['upstream']>,
): readonly ConninfoPart[] {
  const timings = replicationTimings(input.rtoMs)
  const timer = (name: string, of: keyof typeof timings): ConninfoPart => ({
    name,
    value: String(timings[of]),
    why: STREAM_TIMERS[of].why,
    from: STREAM_TIMERS[of].from,
  })
  return [
    { name: 'host', value: upstream.host, why: 'The node that it streams from.' },
    { name: 'port', value: String(upstream.port), why: 'Its port.' },
    { name: 'user', value: REPLICATION_ROLE, why: 'May replicate and nothing else.' },
    {
      name: 'application_name',
      value: upstream.rejoining ? `rejoining ${input.node}` : input.node,
      why: 'Its walsender goes by this name, in pg_stat_replication and in synchronous_standby_names; “rejoining” before it until it may be counted (I12), which no node is called.',
    },
    {
      name: 'passfile',
      value: upstream.passfile,
      why: 'The password, for this epoch only: removing the file is the first step of a fence.',
    },
    {
      name: 'sslmode',
      value: 'verify-full',
      why: 'The chain, the dates and the name of the upstream’s certificate are checked.',
    },
    { name: 'sslrootcert', value: input.tls.ca, why: 'The authority that must have signed it.' },
    timer('connect_timeout', 'connectTimeoutS'),
    { name: 'keepalives', value: '1', why: 'The kernel looks whether the other side is still there.' },
    timer('keepalives_idle', 'keepalivesIdleS'),
    timer('keepalives_interval', 'keepalivesIntervalS'),
    timer('keepalives_count', 'keepalivesCount'),
    timer('tcp_user_timeout', 'tcpUserTimeoutMs'),
    {
      name: 'options',
      value: walsenderOptions(timings),
      why: 'The same four for the other end, its walsender, and for no other connection of that server.',
    },
    {
      name: 'gssencmode',
      value: 'disable',
      why: 'Without it libpq first looks for Kerberos credentials, which can take seconds.',
    },
  ]
}

/**
 * Settings of this stream's walsender alone, as those above are of its walreceiver: behind a cut that is silent it would otherwise hold the
 * slot until wal_sender_timeout, refuse this node when it comes back, and keep a stop of the upstream waiting. Not for all connections: a
 * client that reads its rows slowly must not be ended for that (tcp(7), TCP_USER_TIMEOUT).
 */
function walsenderOptions(timings: ReplicationTimings): string {
  return [
    `tcp_user_timeout=${timings.tcpUserTimeoutMs}`,
    `tcp_keepalives_idle=${timings.keepalivesIdleS}`,
    `tcp_keepalives_interval=${timings.keepalivesIntervalS}`,
    `tcp_keepalives_count=${timings.keepalivesCount}`,
  ]
    .map((setting) => `-c ${setting}`)
    .join(' ')
}
