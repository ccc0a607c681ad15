/**
 * `understudy release`: every node as plain PostgreSQL replication. Nothing of PostgreSQL stops: files, slots and streams stay, agents end, the
 * store forgets the cluster, and what a person then does by hand is printed. Standbys first; interrupted, it is completed by the same command.
 */
import { rm } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ClusterStatus, PauseAnswer, ReleaseAnswer } from '../../api/contract.ts'
import { nodeOf, type ResolvedConfig, type ResolvedNode } from '../../config/load.ts'
import { UnderstudyError } from '../../errors/codes.ts'
import { readTextIfPresent } from '../../postgres/durable.ts'
import { clusterKeys } from '../../store/keys.ts'
import { askCluster, askNode } from '../api-client.ts'
import { composeStore } from '../compose.ts'
import { confirm } from '../confirm.ts'
import { anyAgent, command } from '../control-client.ts'
import { byHand, roleStatementsByHand } from '../existing/by-hand.ts'
import { type Home, openHome, writePrivately } from '../machines/home.ts'
import { etcdNodes } from '../machines/plan.ts'
import { operatorName } from '../operator.ts'
import { EXIT, note, print, printJson } from '../output.ts'

export interface ReleaseOptions {
  readonly dir?: string
  readonly dryRun?: true
  readonly yes?: true
  readonly json?: true
}

const STORE_ANSWER_MS = 5_000
const END_DEADLINE_MS = 60_000
const LOOK_AGAIN_MS = 100
/** One look in vain is a busy machine as well. */
const LOOKS_IN_VAIN = 3
/** In the operator's directory: who was asked to be released before an interruption, and what is done there by hand. */
const PROGRESS = '.released.json'

export async function run(options: ReleaseOptions): Promise<number> {
  const home = await openHome(options.dir)
  const { config } = home
  const recorded = await readProgress(home)
  const left = await notReleased(config, recorded)
  const before = recorded.filter(({ node }) => !left.includes(node))
  for (const { node } of before) note(`${node} was asked before, and its agent answers no more: it has ended`)
  const order = left.length === 0 ? [] : inOrder(await statusOf(config, left), left)
  const looked = await askAll(config, order, true)
  if (options.dryRun === true) return tell(config, [...before, ...looked], options, false)
  const names = config.nodes.map(({ name }) => name).join(', ')
  const question = `Release ${names}? No agent looks after them from then on: nobody takes over when the primary is lost.`
  if (!(await confirm(question, options.yes === true))) {
    note('nothing was changed')
    return EXIT.failed
  }
  if (order.length > 0 && recorded.length === 0) await pause(config)
  const done = [...before]
  for (const answer of looked) {
    done.push(answer)
    // Before it is asked: what it answers is known, and an agent that has ended cannot be asked again.
    await writePrivately(path.join(home.layout.directory, PROGRESS), JSON.stringify(done))
    await askAll(config, [answer.node], false)
  }
  await waitUntilEnded(config)
  // Kept until the store has forgotten it, so that the same command can do that as well.
  const forgotten = await forget(config)
  if (forgotten) await rm(path.join(home.layout.directory, PROGRESS), { force: true })
  tell(config, done, options, true)
  return forgotten ? EXIT.done : EXIT.failed
}

async function readProgress({ layout }: Home): Promise<readonly ReleaseAnswer[]> {
  const text = await readTextIfPresent(path.join(layout.directory, PROGRESS))
  return text === null ? [] : (JSON.parse(text) as readonly ReleaseAnswer[])
}

/** Those that were never asked, and those whose agents answer all the same: they did not hear it, or are about to end, and may be asked twice. */
async function notReleased(
  { nodes }: ResolvedConfig,
  recorded: readonly ReleaseAnswer[],
): Promise<readonly string[]> {
  const left: string[] = []
  for (const node of nodes) {
    const asked = recorded.some((each) => each.node === node.name)
    if (!asked || (await answers(node))) left.push(node.name)
  }
  return left
}

async function answers(node: ResolvedNode): Promise<boolean> {
  for (let look = 1; look <= LOOKS_IN_VAIN; look++) {
    if ((await askNode(node)).kind === 'ok') return true
    if (look < LOOKS_IN_VAIN) await sleep(LOOK_AGAIN_MS)
  }
  return false
}

/** Errors: unreachable, election-running. */
async function statusOf(config: ResolvedConfig, left: readonly string[]): Promise<ClusterStatus> {
  const status = await askCluster(config.nodes)
  if (status === null) throw new UnderstudyError('unreachable', 'no agent answers')
  const silent = status.nodes.filter(({ name, state }) => left.includes(name) && state === 'unreachable')
  if (silent.length > 0)
    throw new UnderstudyError(
      'unreachable',
      `the agent of ${silent.map(({ name }) => name).join(', ')} does not answer`,
      {
        hint: 'Start it, or take the node out first: `understudy remove NODE`.',
      },
    )
  if (status.primary === null || status.phase !== 'steady')
    throw new UnderstudyError('election-running', 'the primary is being replaced, or there is none')
  return status
}

/** The primary last: it is what the others stream from. */
function inOrder({ primary }: ClusterStatus, names: readonly string[]): readonly string[] {
  return [...names.filter((name) => name !== primary), ...names.filter((name) => name === primary)]
}

async function askAll(
  config: ResolvedConfig,
  names: readonly string[],
  dryRun: boolean,
): Promise<readonly ReleaseAnswer[]> {
  const told: ReleaseAnswer[] = []
  for (const name of names)
    told.push(
      await command<ReleaseAnswer>(config, nodeOf(config, name), {
        path: '/v1/release',
        body: { by: operatorName(), dryRun },
      }),
    )
  return told
}

/** While some agents have ended and others have not, nobody may elect anybody. */
async function pause(config: ResolvedConfig): Promise<void> {
  const by = operatorName()
  await anyAgent<PauseAnswer>(config, { path: '/v1/pause', body: { reason: 'the cluster is released', by } })
}

/** An agent that still looks would tell the others that the store has lost its data. Errors: timeout. */
async function waitUntilEnded(config: ResolvedConfig): Promise<void> {
  const deadline = performance.now() + END_DEADLINE_MS
  for (const node of config.nodes) {
    while (await answers(node)) {
      if (performance.now() > deadline)
        throw new UnderstudyError('timeout', `the agent of ${node.name} does not end`, {
          hint: 'Run the same command again; the log of that agent says what it waits for.',
        })
      await sleep(LOOK_AGAIN_MS)
    }
  }
}

/** false: it was said why not. Errors: those of the store. */
async function forget(config: ResolvedConfig): Promise<boolean> {
  const store = await composeStore(config, STORE_ANSWER_MS)
  try {
    const { all } = clusterKeys(config.cluster)
    const gone = await store.transact({ compare: [], success: [{ op: 'deletePrefix', prefix: all }] })
    if (gone.kind === 'ok') return true
    note(
      `the store keeps what it knows (${gone.reason}): run the same command again, or etcdctl del --prefix ${all}`,
    )
    return false
  } finally {
    store.close()
  }
}

function tell(
  config: ResolvedConfig,
  answers: readonly ReleaseAnswer[],
  { json }: ReleaseOptions,
  released: boolean,
): number {
  const etcd = etcdNodes(config.store, config.tls.caFile, config.nodes).map(({ name }) => name)
  const hands = answers.map((each) => ({ ...each, byHand: byHand(config, each, etcd.includes(each.node)) }))
  if (json === true) {
    printJson({ cluster: config.cluster, released, nodes: hands })
    return EXIT.done
  }
  print([
    released
      ? 'Every PostgreSQL runs on as it is, as plain replication, and the agents have ended.'
      : 'Would be done: pause elections; end the agents of the standbys, then of the primary, without stopping PostgreSQL; forget the cluster in the store.',
    '',
    ...hands.flatMap(({ byHand: lines }) => [...lines, '']),
    'From then on, by hand: `pg_ctl promote` makes a standby the primary, and conf/replication.conf of each node says from whom it streams',
    '(primary_conninfo, primary_slot_name) and who acknowledges commits (synchronous_standby_names). Certificates end two years after they',
    'were issued. Roles that are needed no more go by this, as another superuser in the database postgres of the primary:',
    ...roleStatementsByHand(config.postgres.superuser).map((statement) => `  ${statement}`),
  ])
  if (!released) note('Nothing was changed.')
  return EXIT.done
}
