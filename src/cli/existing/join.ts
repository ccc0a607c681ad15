/**
 * A standby that streams already becomes one of the cluster without a new clone: its directory must be of this cluster, and what it has within the
 * history of the primary (I8). Looks and plans; the steps are those of a primary, without what only a first node needs.
 */
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { nodeOf, type ResolvedConfig, type ResolvedNode } from '../../config/load.ts'
import { lsnOf, parseLsn } from '../../core/lsn.ts'
import type { Identity, Primacy } from '../../core/primacy.ts'
import { isOnHistory } from '../../core/timeline.ts'
import { UnderstudyError } from '../../errors/codes.ts'
import { createClusterStore } from '../../store/cluster-store.ts'
import { composeStore } from '../compose.ts'
import { connectTo, type Target } from './connect.ts'
import { lookAtServer, type ServerLook } from './facts.ts'
import { type Journal, newJournal } from './journal.ts'
import { judge, type Refusal, refusal, socketsOf } from './judge.ts'
import { lookAtMachine, type MachineLook } from './machine.ts'
import { translateSettings } from './translate.ts'

export interface JoinOptions {
  /** Of this node's bundle. */
  readonly config: ResolvedConfig
  readonly configText: string
  readonly node: string
  readonly target: Target
}

export interface JoinPlan {
  readonly journal: Journal
  readonly server: ServerLook
  readonly machine: MachineLook
  readonly upstream: StreamLook
  readonly refusals: readonly Refusal[]
  readonly warnings: readonly string[]
}

export interface StreamLook {
  readonly status: string | null
  readonly slot: string
  readonly timelineId: number
  readonly lsn: string
  readonly delay: string
}

const STORE_ANSWER_MS = 5_000

/** Nothing is changed anywhere. Errors: unreachable, auth-failed, not-superuser, store-unreachable, no-primary. */
export async function planJoin(options: JoinOptions): Promise<JoinPlan> {
  const { config, target } = options
  const node = nodeOf(config, options.node)
  const { server, machine, upstream } = await look(target)
  const { identity, primacy } = await readCluster(config)
  const judged = judge({
    server: { ...server, inRecovery: false, ownRoles: [], hasAgentDatabase: true, slots: [] },
    machine,
    hba: { lines: [], problems: [] },
    ident: { lines: [], problems: [] },
    uid: process.getuid?.() ?? 0,
    owner: undefined,
    // It carries the settings of its primary, which is none of ours any more when it has joined.
    endArchiving: true,
  })
  const kept = judged.refusals.filter(({ code }) => code !== 'sync-names-set' && code !== 'config-invalid')
  return {
    ...{ server, machine, upstream },
    journal: newJournal(
      {
        ...{ cluster: config.cluster, node: node.name, role: 'standby', configText: options.configText },
        ...{ given: {}, bundleDirectory: path.dirname(config.file), nodeDirectory: node.directory },
      },
      { target, server, machine },
    ),
    refusals: [
      ...kept,
      ...ofCluster({ server, upstream, identity, primacy, node: options.node }),
      ...(await ofNode(node, server)),
    ],
    warnings: warningsOf({ server, machine, upstream, config, node }),
  }
}

async function look(target: Target): Promise<{
  readonly server: ServerLook
  readonly machine: MachineLook
  readonly upstream: StreamLook
}> {
  const client = await connectTo(target, { readOnly: true })
  try {
    const server = await lookAtServer(client)
    const { rows } = await client.query<StreamLook>(`
      SELECT (SELECT status FROM pg_stat_wal_receiver) AS status,
             current_setting('primary_slot_name') AS slot,
             greatest((SELECT timeline_id FROM pg_control_checkpoint()),
                      (SELECT received_tli FROM pg_stat_wal_receiver),
                      (SELECT min_recovery_end_timeline FROM pg_control_recovery())) AS "timelineId",
             coalesce(greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), '0/0')::text AS lsn,
             current_setting('recovery_min_apply_delay') AS delay`)
    const [upstream] = rows
    if (upstream === undefined)
      throw new UnderstudyError('server-error', 'the server told nothing of its stream')
    return { server, machine: await lookAtMachine(server), upstream }
  } finally {
    await client.end().catch(() => {})
  }
}

/** Errors: store-unreachable, no-primary. */
async function readCluster(
  config: ResolvedConfig,
): Promise<{ readonly identity: Identity; readonly primacy: Primacy }> {
  const store = createClusterStore(await composeStore(config, STORE_ANSWER_MS), config.cluster)
  try {
    const facts = await store.readFacts()
    if (facts.kind !== 'ok')
      throw new UnderstudyError('store-unreachable', `the store does not answer: ${facts.reason}`)
    const { identity, primacy } = facts.value
    if (identity !== null && primacy !== null) return { identity, primacy: primacy.value }
    throw new UnderstudyError('no-primary', `the store knows of no cluster ${config.cluster} yet`, {
      hint: 'Begin it with its primary first: `understudy init --from URL` there.',
    })
  } finally {
    store.close()
  }
}

export interface Joining {
  readonly server: Pick<ServerLook, 'systemIdentifier' | 'inRecovery' | 'major'>
  readonly upstream: StreamLook
  readonly identity: Pick<Identity, 'systemIdentifier' | 'major'>
  readonly primacy: Pick<Primacy, 'primary' | 'phase' | 'history'>
  readonly node: string
}

/** Whether what it has belongs to this cluster. Pure. */
export function ofCluster({ server, upstream, identity, primacy, node }: Joining): readonly Refusal[] {
  const anew = `Move its data directory away and let the node join by a clone: \`understudy systemd --install\` alone.`
  if (server.systemIdentifier !== identity.systemIdentifier)
    return [
      refusal(
        'system-identifier',
        `its system identifier is ${server.systemIdentifier}, the cluster’s is ${identity.systemIdentifier}`,
        anew,
      ),
    ]
  const found: Refusal[] = []
  if (server.major !== identity.major)
    found.push(
      refusal('wrong-major', `it is PostgreSQL ${server.major}, the cluster is ${identity.major}`, anew),
    )
  if (primacy.primary === node)
    found.push(refusal('already-primary', `${node} is the primary of the cluster`))
  if (primacy.phase !== 'steady') found.push(refusal('election-running', 'the primary is being replaced'))
  if (!server.inRecovery)
    return [
      ...found,
      refusal(
        'refused',
        'it is no standby: it accepts writes, and what was written to it the cluster does not have',
        'Make it follow the primary first (pg_rewind, standby.signal, primary_conninfo), or let the node join by a clone.',
      ),
    ]
  const lsn = parseLsn(upstream.lsn) ?? lsnOf(0n)
  if (!isOnHistory(primacy.history, { timelineId: upstream.timelineId, lsn }))
    return [
      ...found,
      refusal(
        'wrong-timeline',
        `it is on timeline ${upstream.timelineId} at ${upstream.lsn}, which is not within the history of ${primacy.primary} (I8)`,
      ),
    ]
  if (upstream.status !== 'streaming')
    found.push(
      refusal(
        'not-streaming',
        `it does not stream (its walreceiver is ${upstream.status ?? 'not there'}): the WAL that it needs may be gone`,
        'Let it stream first, with the configuration that it has; its log says why it does not.',
      ),
    )
  if (upstream.delay !== '0')
    found.push(
      refusal(
        'refused',
        `it is delayed on purpose (recovery_min_apply_delay = ${upstream.delay})`,
        'Take the delay away first: delayed standbys are not managed yet.',
      ),
    )
  return found
}

async function ofNode(node: ResolvedNode, server: ServerLook): Promise<readonly Refusal[]> {
  const found: Refusal[] = []
  const port = Number(server.settings.get('port'))
  if (port !== node.port)
    found.push(
      refusal(
        'flags-differ',
        `its port is ${port}, and the cluster knows ${node.name} at ${node.host}:${node.port}`,
        `Correct nodes.${node.name}.port in the operator’s understudy.yaml, make a new bundle, and look again.`,
      ),
    )
  if ((await stat(path.join(node.directory, 'data')).catch(() => null)) !== null)
    found.push(
      refusal(
        'foreign-data',
        `${node.directory} has data already`,
        `Is the agent of ${node.name} set up here already? Move its directory away first.`,
      ),
    )
  return found
}

interface Minded {
  readonly server: ServerLook
  readonly machine: MachineLook
  readonly upstream: StreamLook
  readonly config: ResolvedConfig
  readonly node: ResolvedNode
}

function warningsOf({ server, machine, upstream, config, node }: Minded): readonly string[] {
  const found: string[] = []
  if (upstream.slot !== '')
    found.push(
      `Its slot ${upstream.slot} on the primary is used no more, and would hold WAL there: SELECT pg_drop_replication_slot('${upstream.slot}') on the primary.`,
    )
  const own = translateSettings(server, { major: server.major, autoConf: '' }).parameters
  const differing = Object.entries(own)
    .filter(([name, value]) => String(config.postgres.parameters[name] ?? '') !== value)
    .map(([name, value]) => `${name} = ${value}`)
  if (differing.length > 0)
    found.push(`It gets the cluster’s settings, and these of its own are left: ${differing.join(', ')}.`)
  const [socket] = socketsOf(server)
  if (socket !== undefined && socket !== node.socketDirectory)
    found.push(
      `Its socket moves from ${socket} to ${node.socketDirectory}: nodes.${node.name}.socketDirectory keeps it.`,
    )
  if (machine.manager.kind === 'plain')
    found.push(
      'Whatever starts it at boot must be disabled by you; its postgresql.conf is moved aside, so that a start by that fails.',
    )
  return found
}
