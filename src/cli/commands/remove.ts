/**
 * `understudy remove NODE`: out of the configuration, out of the rule by which commits are acknowledged, its slots and its access gone, and
 * its name taken, so that it does not come back by itself. In this order, so that no commit ever counts on a node that is not there; each
 * step can be done again.
 */
import { rm } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ClusterStatus, MemberAnswer } from '../../api/contract.ts'
import { nodeOf, parseConfig, type ResolvedConfig, resolveConfig } from '../../config/load.ts'
import { UnderstudyError } from '../../errors/codes.ts'
import { readTextIfPresent } from '../../postgres/durable.ts'
import { askCluster } from '../api-client.ts'
import { confirm } from '../confirm.ts'
import { command } from '../control-client.ts'
import { type Delivery, deliverBundles, deliveryJson, deliveryLine } from '../machines/deliver.ts'
import { withoutNode } from '../machines/edit.ts'
import { type Home, openHome, writePrivately } from '../machines/home.ts'
import { DEFAULT_OWNER, publish } from '../machines/publish.ts'
import { agentUnitName, proxyUnitName } from '../machines/units.ts'
import { operatorName } from '../operator.ts'
import { EXIT, note, print, printJson, warn } from '../output.ts'
import { exitOf } from './push.ts'

export interface RemoveOptions {
  readonly node: string
  readonly dir?: string
  readonly yes?: true
  readonly dryRun?: true
  readonly json?: true
}

const RULE_DEADLINE_MS = 60_000
const LOOK_AGAIN_MS = 300

export async function run(options: RemoveOptions): Promise<number> {
  const { node } = options
  const home = await openHome(options.dir)
  const { text, config } = await withoutOldNode(home, node)
  const status = await statusOf(home.config)
  refuseUnsafe(status, node)
  if (options.dryRun === true) return tellPlan(node, config, options)
  if (
    !(await confirm(
      `Remove ${node} from ${config.cluster}? Its data stays where it is.`,
      options.yes === true,
    ))
  ) {
    note('nothing was changed')
    return EXIT.failed
  }
  await writePrivately(home.layout.configFile, text)
  await publish({ layout: home.layout, config, format: 'tar', owner: DEFAULT_OWNER })
  const deliveries = await deliverBundles({ layout: home.layout, config })
  const primary = status.primary ?? ''
  const told = deliveries.find((each) => each.node === primary)
  if (told === undefined || told.error !== null) {
    for (const each of deliveries) note(deliveryLine(each))
    throw told?.error ?? new UnderstudyError('refused', `the primary ${primary} was not told`)
  }
  await waitForRule(config, node)
  await command<MemberAnswer>(config, nodeOf(config, primary), {
    path: `/v1/members/${node}`,
    method: 'DELETE',
    body: { by: operatorName() },
  })
  await removeFiles(home, node)
  tell(node, config, deliveries, options)
  return exitOf(deliveries)
}

/** A node that the configuration does not have any more, and whose certificate is still there: a `remove` that was interrupted. */
async function withoutOldNode(
  { layout, text, config }: Home,
  node: string,
): Promise<{ readonly text: string; readonly config: ResolvedConfig }> {
  if (config.nodes.some(({ name }) => name === node)) {
    if (config.nodes.length === 1)
      throw new UnderstudyError('refused', `${node} is the only node of ${config.cluster}`, {
        hint: 'Stop it instead: there would be nothing left to manage.',
      })
    const next = withoutNode(text, node)
    return { text: next, config: resolveConfig(parseConfig(next, layout.configFile), layout.configFile) }
  }
  const certificate = path.join(layout.directory, 'tls', `${path.basename(node)}.crt`)
  if ((await readTextIfPresent(certificate)) !== null) return { text, config }
  nodeOf(config, node)
  return { text, config }
}

/** Errors: unreachable. */
async function statusOf(config: ResolvedConfig): Promise<ClusterStatus> {
  const status = await askCluster(config.nodes)
  if (status !== null) return status
  throw new UnderstudyError('unreachable', 'no agent answers')
}

/** Errors: refused, election-running. */
function refuseUnsafe(status: ClusterStatus, node: string): void {
  if (status.primary === node)
    throw new UnderstudyError('refused', `${node} is the primary`, {
      hint: 'Make another node the primary first: `understudy switchover --to NODE`.',
    })
  if (status.phase !== 'steady' || status.primary === null)
    throw new UnderstudyError('election-running', 'the primary is being replaced, or there is none')
  const { quorum } = status
  if (quorum === null || quorum.acks === 0) return
  const left = status.nodes.filter(
    ({ name, state }) => name !== node && quorum.standbys.includes(name) && state === 'streaming',
  )
  if (left.length === 0)
    throw new UnderstudyError(
      'refused',
      `without ${node} no standby would acknowledge a commit, and writes would stop`,
      {
        hint: 'Mend the other standbys first, or add one: `understudy status` shows their state.',
      },
    )
}

/** The primary takes it out of the rule as soon as its own configuration does not have it. Errors: timeout. */
async function waitForRule(config: ResolvedConfig, node: string): Promise<void> {
  const deadline = performance.now() + RULE_DEADLINE_MS
  for (;;) {
    const status = await askCluster(config.nodes)
    if (status?.phase === 'steady' && status.quorum !== null && !status.quorum.standbys.includes(node)) return
    if (performance.now() > deadline)
      throw new UnderstudyError('timeout', `commits still count on ${node}`, {
        hint: '`understudy why` says what the primary waits for. Run the same command again to complete it.',
      })
    await sleep(LOOK_AGAIN_MS)
  }
}

/** Its certificate last: it is by this that an interrupted `remove` is known. */
async function removeFiles({ layout }: Home, node: string): Promise<void> {
  const { certificate, key } = layout.nodeKeyPair(node)
  for (const place of [
    path.join(layout.bundles, node),
    path.join(layout.bundles, `${node}.tar.gz`),
    key,
    certificate,
  ])
    await rm(place, { recursive: true, force: true })
}

function unitsOf({ cluster, proxy }: ResolvedConfig, node: string): readonly string[] {
  return [agentUnitName({ cluster, node }), ...(proxy === null ? [] : [proxyUnitName({ cluster, node })])]
}

function tellPlan(node: string, config: ResolvedConfig, { json }: RemoveOptions): number {
  const left = config.nodes.map(({ name }) => name)
  if (json) printJson({ node, left, removed: false })
  else print(`${node} could be removed now; ${left.join(', ')} would be left. Nothing was changed.`)
  return EXIT.done
}

function tell(
  node: string,
  config: ResolvedConfig,
  deliveries: readonly Delivery[],
  { json }: RemoveOptions,
): void {
  const left = config.nodes.map(({ name }) => name)
  const thin = config.durability === 'quorum' && left.length === 2
  if (json) {
    printJson({ node, left, removed: true, nodes: deliveries.map(deliveryJson) })
    return
  }
  print([
    ...deliveries.map(deliveryLine),
    `${node} is removed; its PostgreSQL stops, its data stays where it is.`,
    '',
    `On ${node}, as root: systemctl disable --now ${unitsOf(config, node).join(' ')}`,
    `It still knows the cluster’s passwords: \`understudy rotate passwords\` makes new ones.`,
  ])
  if (thin)
    warn('two nodes are left: every commit waits for the one standby, and while it is away writes stop.')
}
