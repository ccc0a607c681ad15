/** The stations that change who is primary: a switchover, the death of the primary, and how the old one comes back. */
import type { ClusterStatus, SwitchoverAnswer } from '../../api/contract.ts'
import { nodeOf, type ResolvedNode } from '../../config/load.ts'
import { UnderstudyError } from '../../errors/codes.ts'
import { replicationSettings } from '../../postgres/configuration.ts'
import { nodeLayout } from '../../postgres/layout.ts'
import { settingLine } from '../../postgres/setting-text.ts'
import { baseBackup, rewindOf, start, stop } from '../by-hand/commands.ts'
import { replicationFile } from '../by-hand/files.ts'
import { LOOK_WALSENDERS } from '../by-hand/looks.ts'
import { inputFor, type Scene, synchronousNamesOf } from '../by-hand/scene.ts'
import { command } from '../by-hand/shell.ts'
import { type Change, type ChangeResult, followChange } from '../change-result.ts'
import { watchChange } from '../change-watch.ts'
import { command as ask } from '../control-client.ts'
import { enumerate, humanDuration } from '../humanise.ts'
import { operatorName } from '../operator.ts'
import { phaseLines } from '../phase-lines.ts'
import { endNode, endObstacle } from './end-node.ts'
import { eventsOf, streams } from './look-stations.ts'
import type { Sight } from './sight.ts'
import type { Outcome, Seen, Station, Told, Typed } from './station.ts'

export interface ChangeOptions {
  /** How a person calls this program: for what is typed. */
  readonly program: string
  /** Aborted when the person does not want to wait for the cluster to become whole. */
  readonly hurry: AbortSignal
  /** What happens, as it happens. */
  readonly onProgress: (text: string) => void
}

export function changeStations(sight: Sight, options: ChangeOptions): readonly Station[] {
  const past: Past = { from: null }
  return [switchover(sight, options, past), failover(sight, options, past), comeBack(sight, past)]
}

/** Who was the primary before the last change. */
interface Past {
  from: string | null
}

function switchover(sight: Sight, options: ChangeOptions, past: Past): Station {
  const plan = async (): Promise<SwitchoverAnswer> => {
    const { primary, config } = await sight.scene()
    return ask(config, primary, { path: '/v1/switchover', body: { dryRun: true, by: operatorName() } })
  }
  return {
    id: 'switchover',
    title: 'A switchover',
    tell: async () => {
      const scene = await sight.scene()
      const { from, to, refusal } = await plan()
      const next = scene.standbys.find(({ name }) => name === to) ?? scene.standbys[0]
      return {
        why: [
          'A planned change of primary, for maintenance: the old primary is stopped in order, the standby has everything then, and is promoted. Nothing is lost, and writes wait for well under a second.',
          'By hand the order is everything: were the standby promoted before the old primary has stopped, there would be two primaries.',
        ],
        typed: [
          { kind: 'command', on: null, text: `${options.program} switchover --to ${next?.name ?? 'NODE'}` },
          ...(next === undefined ? [] : switchoverByHand(scene, next.name)),
        ],
        look: [
          'pg_controldata of the old primary after its stop: its latest checkpoint is the end of its WAL, which the standby must have received (pg_last_wal_receive_lsn()) before it is promoted.',
          'The timeline: a promotion begins another one (pg_control_checkpoint()).',
        ],
        question: `Make ${to ?? 'another node'} the primary instead of ${from}? Connections to ${from} end, and writes wait for a moment.`,
        obstacle: refusal === null ? await notWhole(sight) : refusal.message,
      }
    },
    visit: async () => {
      const { config, primary } = await sight.scene()
      const { from, to, epoch, checks, refusal } = await plan()
      if (refusal !== null || to === null || epoch === null)
        throw new UnderstudyError('refused', refusal?.message ?? 'no node could be the primary')
      const request: Change = {
        ...{ name: 'switchover', from, wanted: to, epoch, checks },
        ask: () => ask(config, primary, { path: '/v1/switchover', body: { to, epoch, by: operatorName() } }),
      }
      past.from = request.from
      return changed(sight, options, request)
    },
  }
}

/** What stands in the files of each role is in the earlier stations. */
function switchoverByHand(scene: Scene, to: string): readonly Typed[] {
  const from = scene.primary
  const next = nodeOf(scene.config, to)
  const after: Scene = {
    ...scene,
    epoch: scene.epoch + 1,
    primary: next,
    standbys: scene.config.nodes.filter((node) => node !== next),
  }
  const names = scene.config.durability === 'quorum' ? synchronousNamesOf(after, from) : ''
  const { path, content } = replicationFile(after, from, names)
  return [
    { kind: 'sql', on: from.name, text: 'CHECKPOINT;' },
    { kind: 'command', on: from.name, text: stop(scene, from) },
    { kind: 'sql', on: to, text: 'SELECT pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn();' },
    { kind: 'sql', on: to, text: 'SELECT pg_promote();' },
    {
      kind: 'file',
      on: from.name,
      path,
      text: content.replace(/^#.*\n/gm, '').replace(/\n{2,}/g, '\n'),
    },
    {
      kind: 'command',
      on: from.name,
      text: `${command('touch', `${nodeLayout(from.directory).dataDir}/standby.signal`)}\n${start(after, from)}`,
    },
  ]
}

function failover(sight: Sight, options: ChangeOptions, past: Past): Station {
  return {
    id: 'failover',
    title: 'A failover',
    tell: async () => {
      const scene = await sight.scene()
      const status = await sight.status()
      const { primary, standbys } = scene
      const [first] = standbys
      const loss = status.whatIf?.find(({ node }) => node === primary.name)
      return {
        why: [
          'The primary is lost without a word. The standbys notice, promise to take nothing more from it, vote with how far they have come, and the one that has everything is promoted. The old primary can get nothing acknowledged any more, whether it is dead or only cut off.',
          'By hand a person first makes sure that the old primary is down and stays down, lets no standby take anything more from it, then asks every standby how far it is, and promotes the one that is furthest: any other one would lose commits.',
        ],
        typed: [
          ...standbys.flatMap((node) => fenceByHand(scene, node)),
          ...(first === undefined
            ? []
            : ([{ kind: 'sql', on: first.name, text: 'SELECT pg_promote();' }] as const)),
        ],
        look: [
          `${options.program} events --follow, while it happens; ${options.program} history afterwards: what each phase took.`,
          ...(loss === undefined ? [] : [`What would happen now: ${loss.sentence}.`]),
        ],
        question: `End ${primary.name} now, its agent and its PostgreSQL, as a power cut would? Its connections break; another node takes over, and ${primary.name} is started again by itself.`,
        obstacle: failoverObstacle(sight, status) ?? (await notWhole(sight)),
      }
    },
    visit: async () => {
      const scene = await sight.scene()
      const status = await sight.status()
      const { name } = scene.primary
      const [wanted = ''] = status.whatIf?.find(({ node }) => node === name)?.takesOver ?? []
      const request: Change = {
        ...{ name: 'failover', from: name, wanted, epoch: scene.epoch, checks: [] },
        ask: () => endNode(sight.cluster, scene.primary, status),
      }
      past.from = request.from
      return changed(sight, options, request)
    },
  }
}

/** Without an upstream it takes nothing more, and what it has is what it stays with. */
function fenceByHand(scene: Scene, node: ResolvedNode): readonly Typed[] {
  const fenced = { role: 'standby', upstream: null, synchronousStandbyNames: '' } as const
  const [conninfo] = replicationSettings(inputFor(scene, node), fenced)
  return [
    {
      kind: 'file',
      on: node.name,
      path: `${nodeLayout(node.directory).confDir}/replication.conf`,
      text: conninfo === undefined ? '' : settingLine(conninfo.name, conninfo.value),
    },
    { kind: 'sql', on: node.name, text: 'SELECT pg_reload_conf();' },
    { kind: 'sql', on: node.name, text: 'SELECT pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn();' },
  ]
}

function failoverObstacle(sight: Sight, status: ClusterStatus): string | null {
  if (status.quorum === null || status.quorum.acks === 0)
    return 'commits wait for no standby here: the newest ones could be lost with the node that is ended'
  const loss = status.whatIf?.find(({ node }) => node === status.primary)
  if (loss === undefined) return 'the agents do not say what would happen'
  if (loss.takesOver.length === 0 || loss.mayLoseCommits) return loss.sentence
  return endObstacle(sight.cluster)
}

/** A person who is asked must not be asked about a cluster that could not bear it; null: it can. */
async function notWhole(sight: Sight): Promise<string | null> {
  try {
    const { paused, scheduled } = await sight.untilWhole(sight.signal, SETTLING_MS)
    if (paused !== null) return `failover is paused by ${paused.by}: ${paused.reason}`
    if (scheduled !== null) return `a switchover to ${scheduled.to} is scheduled for ${scheduled.at}`
    return null
  } catch (error) {
    if (error instanceof UnderstudyError) return error.message
    throw error
  }
}

/** What an agent says of the others is a moment old. */
const SETTLING_MS = 5_000

/** What has been begun is followed to its end, also when the person leaves meanwhile; `hurry` alone ends the waiting. */
async function changed(sight: Sight, options: ChangeOptions, request: Change): Promise<Outcome> {
  const leaving = (): void => options.onProgress('leaving when the cluster is whole again; Ctrl-C leaves now')
  sight.signal.addEventListener('abort', leaving)
  try {
    return await Promise.race([followed(sight, options, request), rejectedBy(options.hurry)])
  } finally {
    sight.signal.removeEventListener('abort', leaving)
  }
}

function rejectedBy(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
  })
}

async function followed(sight: Sight, options: ChangeOptions, request: Change): Promise<Outcome> {
  const { nodes } = sight.cluster.config
  const watch = await watchChange(nodes)
  try {
    const result = await followChange(request, watch, {
      nodes,
      onEvent: ({ node, message }) => options.onProgress(`${node}: ${message}`),
      onEnd: ({ primary, epoch }) => options.onProgress(`${primary} is the primary of epoch ${epoch}`),
    })
    options.onProgress('waiting until every standby streams again')
    await sight.untilWhole(options.hurry)
    const seen = [phases(result), ...(sight.signal.aborted ? [] : await served(sight))]
    return { seen, change: request.name === 'failover' ? asItCame(result) : result }
  } finally {
    watch.close()
  }
}

/** Nobody asked for a certain node: whoever has everything is elected, and be it the old primary that was back in time. */
function asItCame({ error, ...result }: ChangeResult): ChangeResult {
  return { ...result, wanted: result.to, reached: true }
}

function phases({ from, to, outageMs, phases }: ChangeResult): Seen {
  const outage = outageMs === null ? [] : [`no write was acknowledged for ${humanDuration(outageMs)}`]
  return {
    on: null,
    asked: `${from} -> ${to}, phase by phase`,
    rows: [],
    lines: [...phaseLines(phases), ...outage],
  }
}

async function served(sight: Sight): Promise<readonly Seen[]> {
  const { primary } = await sight.scene()
  return [await sight.look(primary.name, LOOK_WALSENDERS.sql)]
}

const RETURN_EVENTS = ['demoted', 'rewind', 'cloned', 'rejoined']

function comeBack(sight: Sight, past: Past): Station {
  const since = new Date().toISOString()
  return {
    id: 'return',
    title: 'The return of the old primary',
    tell: async (): Promise<Told> => {
      const scene = await sight.scene()
      const node = scene.standbys.find(({ name }) => name === past.from) ?? scene.standbys[0]
      return {
        why: [
          'An old primary that was stopped in order has nothing that the new one lacks: it becomes a standby at once. One that died may have WAL that no standby has got and nobody was told of. Started as it is, it would be a second primary, or a standby that cannot follow.',
          'pg_rewind undoes what it has too much, by copying only the blocks that differ; where that cannot be done it is copied anew. understudy looks at where the two histories part, and does what is needed by itself.',
        ],
        typed:
          node === undefined
            ? []
            : [
                { kind: 'command', on: node.name, text: rewindOf(scene, node) },
                {
                  kind: 'command',
                  on: node.name,
                  text: command('touch', `${nodeLayout(node.directory).dataDir}/standby.signal`),
                },
                { kind: 'command', on: node.name, text: start(scene, node) },
                {
                  kind: 'command',
                  on: node.name,
                  text: `# or anew: ${baseBackup(scene, node).replaceAll('\n', '\n# ')}`,
                },
              ],
        look: [
          'The log of the node: started streaming WAL … on timeline N. timeline history files (*.history) in pg_wal say where timelines part.',
        ],
        question: null,
        obstacle: null,
      }
    },
    visit: async () => {
      const { nodes } = sight.cluster.config
      const lines = await eventsOf(nodes, RETURN_EVENTS, sight, since)
      const noted: Seen = {
        on: null,
        asked: 'what the agents have noted of it',
        rows: [],
        lines: lines.length > 0 ? lines : ['nothing: no primary has changed during this tour'],
      }
      return { seen: [noted, ...(await streams(sight))] }
    },
  }
}

/** Who holds what at the end. */
export function farewell(status: ClusterStatus): string {
  const standbys = status.nodes.filter(({ name }) => name !== status.primary).map(({ name }) => name)
  return `${status.primary ?? 'nobody'} is the primary, ${enumerate(standbys)} ${standbys.length === 1 ? 'streams' : 'stream'}: the cluster is as healthy as before.`
}
