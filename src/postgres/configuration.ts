/**
 * The text of a node's configuration files. They are written for a person who learns replication as much as for PostgreSQL: each
 * line has its reason. PURE.
 */
import type { RefusedParameter, ReplicationConfiguration } from '../ports/postgres.ts'
import { renderBase, renderSettings, type Setting } from './base-configuration.ts'
import type { ConfigurationInput } from './configuration-input.ts'
import { hbaLineProblem, renderHba } from './hba.ts'
import { REPLICATION_ROLE, slotName } from './layout.ts'
import { parameterVerdict } from './parameters.ts'
import { quoteConninfo, settingLine } from './setting-text.ts'
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
      ['pg_hba.conf', renderHba(input.members, hba.taken, input.ownAccess ?? null)],
      ['pg_ident.conf', renderIdent(input.ident ?? [])],
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

function renderIdent(lines: readonly string[]): string {
  return lines.length === 0
    ? '# Written by understudy. No operating system user is mapped to a role: everybody has a password.\n'
    : `# Written by understudy: edits here are lost. From the configuration: postgres.ident.\n${lines.join('\n')}\n`
}

function renderReplication(input: ConfigurationInput, replication: ReplicationConfiguration): string {
  const role =
    replication.role === 'primary' ? 'This node is primary.' : 'This node is a standby (data/standby.signal).'
  const settings = replicationSettings(input, replication).map((setting) => renderSettings([setting]))
  return `# Written by understudy at every change of roles: edits here are lost.\n# ${role}\n\n${settings.join('\n')}`
}

/** replication.conf: what follows from the node's role right now. */
export function replicationSettings(
  input: ConninfoInput,
  { role, upstream, synchronousStandbyNames }: ReplicationConfiguration,
): readonly Setting[] {
  return [
    {
      name: 'primary_conninfo',
      value: upstream === null ? '' : conninfo(conninfoParts(input, upstream)),
      why: 'How to reach the node that this one streams from. The password stands in a passfile: without that file it takes nothing more from an old primary.',
    },
    {
      name: 'primary_slot_name',
      value: upstream === null ? '' : slotName(input.node),
      why: 'The upstream keeps the WAL that this node has not taken yet.',
    },
    {
      name: 'synchronous_standby_names',
      value: synchronousStandbyNames,
      why: 'Who must have flushed a commit before it is acknowledged. Standbys carry it too: a promoted one waits from its first commit on.',
    },
    {
      name: 'restart_after_crash',
      value: role === 'primary',
      ofAgent: true,
      why:
        'A crashed backend costs a primary a restart of some ten milliseconds, and no failover. A standby is started by its agent: by itself it would ' +
        'go for the newest timeline that it has heard of, beyond what it has of it, when it has not heard of everything.',
    },
  ]
}

/** As libpq reads it (manual: 34.1.1.1). */
export function conninfo(parts: readonly Pick<ConninfoPart, 'name' | 'value'>[]): string {
  return parts.map(({ name, value }) => `${name}=${quoteConninfo(value)}`).join(' ')
}

type ConninfoInput = Pick<ConfigurationInput, 'node' | 'rtoMs' | 'tls'>

export interface ConninfoPart {
  readonly name: string
  readonly value: string
  readonly why: string
  readonly from?: string
}

/** How a standby reaches its upstream (manual: 34.1.2). */
export function conninfoParts(
  input: ConninfoInput,
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
      why: 'The password. understudy makes one of these per epoch: removing the file is the first step of a fence.',
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
