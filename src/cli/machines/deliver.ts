/**
 * Bundles to nodes that run, through their agents: standbys first and the primary last, one after the other, each waited for until it is
 * itself again, so that what a person wrote wrong stops at the first one.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { BundleAnswer, BundleBody } from '../../api/contract.ts'
import type { ResolvedConfig, ResolvedNode } from '../../config/load.ts'
import { toUnderstudyError, type UnderstudyError } from '../../errors/codes.ts'
import { askCluster, askNode } from '../api-client.ts'
import { command } from '../control-client.ts'
import { operatorName } from '../operator.ts'
import { bundleFiles } from './bundle.ts'
import type { HomeLayout } from './home.ts'
import { etcdNodes } from './plan.ts'

export interface Delivery {
  readonly node: string
  /** Files that are other ones now. */
  readonly changed: readonly string[]
  /** null: it has the bundle. */
  readonly error: UnderstudyError | null
}

export interface DeliverOptions {
  readonly layout: HomeLayout
  readonly config: ResolvedConfig
  /** Left out: every node. */
  readonly only?: readonly string[]
  readonly dryRun?: boolean
}

const AGAIN_DEADLINE_MS = 30_000
const FIRST_LOOK_MS = 300

/** What is refused ends it; who does not answer gets it another time. */
export async function deliverBundles(options: DeliverOptions): Promise<readonly Delivery[]> {
  const { config, only, dryRun = false } = options
  const status = await askCluster(config.nodes)
  const wanted = config.nodes.filter(({ name }) => only?.includes(name) ?? true)
  const inOrder = [
    ...wanted.filter(({ name }) => name !== status?.primary),
    ...wanted.filter(({ name }) => name === status?.primary),
  ]
  const deliveries: Delivery[] = []
  for (const node of inOrder) {
    const delivery = await deliver(options, node, dryRun)
    deliveries.push(delivery)
    if (delivery.error !== null && delivery.error.code !== 'unreachable') break
  }
  return deliveries
}

async function deliver(
  { layout, config }: DeliverOptions,
  node: ResolvedNode,
  dryRun: boolean,
): Promise<Delivery> {
  const etcd = etcdNodes(config.store, layout.authority.certificate, config.nodes)
  const files = await bundleFiles({ layout, config, node, etcd, createdAt: new Date(), planned: dryRun })
  const body: BundleBody = {
    files: Object.fromEntries(
      files
        .filter(({ path }) => !path.endsWith('/'))
        .map(({ path, content }) => [path, content.toString('base64')]),
    ),
    ...(dryRun && { dryRun }),
    by: operatorName(),
  }
  try {
    const asked = { path: '/v1/bundle', method: 'PUT' as const, body }
    const { changed, restarts } = await command<BundleAnswer>(config, node, asked)
    if (restarts && !dryRun) await waitUntilAgain(node)
    return { node: node.name, changed, error: null }
  } catch (error) {
    return { node: node.name, changed: [], error: toUnderstudyError(error) }
  }
}

/** Its agent answers and looks after PostgreSQL again. */
async function waitUntilAgain(node: ResolvedNode): Promise<void> {
  const deadline = performance.now() + AGAIN_DEADLINE_MS
  await sleep(FIRST_LOOK_MS)
  while (performance.now() < deadline) {
    const answer = await askNode(node)
    if (answer.kind === 'ok' && answer.value.storeReachable) return
    await sleep(FIRST_LOOK_MS)
  }
}

export function deliveryLine({ node, changed, error }: Delivery): string {
  if (error === null)
    return changed.length === 0 ? `${node}: has it already` : `${node}: took ${changed.join(', ')}`
  return `${node}: ${error.message}`
}

/** As --json has it. */
export function deliveryJson({ node, changed, error }: Delivery): object {
  return {
    node,
    changed,
    error: error === null ? null : { code: error.code, message: error.message, hint: error.hint },
  }
}
