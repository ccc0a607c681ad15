/**
 * Watches a starting cluster through its agents' API and shows it as steps, until it is ready or cannot become so by itself. It only
 * looks: the agents do the work, whether anybody watches or not.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { ClusterStatus, NodeDetail, NodeStatus, Problem } from '../../api/contract.ts'
import { PeerClient } from '../../api/peer-client.ts'
import type { ResolvedConfig } from '../../config/load.ts'
import type { StepView } from '../steps.ts'
import { askNodes } from './ask.ts'
import { isPausedForStop } from './pause.ts'
import { askStatus } from './status.ts'

const LOOK_EVERY_MS = 100
/** Without any change for so long, waiting on is no use; a clone that moves is a change. */
const NO_CHANGE_MS = 60_000
/** A problem that does not go away by itself is believed after this long. */
const SETTLED_MS = 4_000

export type Readiness =
  | { readonly kind: 'ready'; readonly status: ClusterStatus }
  | { readonly kind: 'stuck'; readonly status: ClusterStatus | null; readonly problem: Problem | null }
  | { readonly kind: 'aborted' }

/** Codes that only a person can mend. */
const LASTING: ReadonlySet<string> = new Set([
  'foreign-data',
  'wrong-major',
  'foreign-postmaster',
  'system-identifier',
  'tablespaces',
  'data-damaged',
  'no-permission',
  'no-space',
  'port-taken',
  'store-auth',
  'store-empty',
  'store-stale',
  'auth-failed',
  'tls-failed',
  'certificate-expired',
  'initdb-failed',
  'parameter-refused',
])

export async function followStart(
  config: ResolvedConfig,
  view: StepView,
  signal: AbortSignal,
): Promise<Readiness> {
  const client = new PeerClient()
  const steps = new StartSteps(config, view)
  let changedAtMs = performance.now()
  let before = ''
  try {
    steps.begin()
    while (!signal.aborted) {
      const details = await askNodes(config, client)
      const status = await askStatus(config, client, details)
      steps.show(details, status)
      if (status !== null && isReady(config, status)) {
        steps.finish(status)
        return { kind: 'ready', status }
      }
      const now = performance.now()
      const picture = JSON.stringify(
        [...details.values()].map((each) => [each?.status, each?.task, each?.decision.rule]),
      )
      if (picture !== before) changedAtMs = now
      before = picture
      const lasting = lastingProblem(details)
      if (lasting !== null && now - changedAtMs > SETTLED_MS)
        return { kind: 'stuck', status, problem: lasting }
      if (now - changedAtMs > NO_CHANGE_MS)
        return { kind: 'stuck', status, problem: status?.problems[0] ?? null }
      await sleep(LOOK_EVERY_MS, undefined, { signal }).catch(() => {})
    }
    return { kind: 'aborted' }
  } finally {
    client.close()
  }
}

/**
 * All nodes stream, under the durability that was asked for where there are enough nodes for it. Both ends must say so: a standby
 * knows it a moment before its primary has looked, and until then the board would show a cluster that commits wait for. And somebody
 * would take over: the pause of the last stop is over.
 */
export function isReady(
  config: Pick<ResolvedConfig, 'durability'> & { readonly nodes: readonly unknown[] },
  status: ClusterStatus,
): boolean {
  if (status.primary === null || !status.healthy || isPausedForStop(status.paused)) return false
  const streaming = status.nodes.every(
    (node) => node.name === status.primary || (node.state === 'streaming' && node.syncState !== null),
  )
  if (!streaming) return false
  const quorumWanted = config.durability === 'quorum' && config.nodes.length >= 3
  return (
    !quorumWanted || (status.quorum?.standbys.length === config.nodes.length - 1 && status.quorum.acks > 0)
  )
}

function lastingProblem(details: ReadonlyMap<string, NodeDetail | null>): Problem | null {
  const problems = [...details.values()].flatMap((detail) => detail?.problems ?? [])
  return problems.find((problem) => problem.severity === 'error' && LASTING.has(problem.code)) ?? null
}

/** What each node does, as one step each; a step that is done stays done. */
class StartSteps {
  readonly #config: ResolvedConfig
  readonly #view: StepView
  readonly #done = new Set<string>()
  readonly #cloning = new Set<string>()

  constructor(config: ResolvedConfig, view: StepView) {
    this.#config = config
    this.#view = view
  }

  begin(): void {
    this.#view.step('store', 'store')
    for (const node of this.#config.nodes) this.#view.step(node.name, node.name)
  }

  show(details: ReadonlyMap<string, NodeDetail | null>, status: ClusterStatus | null): void {
    if ([...details.values()].some((detail) => detail?.storeReachable === true))
      this.#finish('store', 'store: answers')
    for (const node of this.#config.nodes) this.#showNode(node.name, details.get(node.name) ?? null)
    if (status === null || this.#done.size <= this.#config.nodes.length) return
    if (this.#config.durability !== 'quorum' || this.#config.nodes.length < 3 || this.#done.has('quorum'))
      return
    this.#view.step('quorum', 'quorum')
    const primary = status.primary === null ? null : details.get(status.primary)
    this.#view.detail('quorum', primary?.decision.reason ?? '')
  }

  finish(status: ClusterStatus): void {
    for (const node of status.nodes) this.#finishNode(node)
    const { quorum } = status
    if (quorum === null || quorum.acks === 0) return
    this.#view.step('quorum', 'quorum')
    this.#finish('quorum', `quorum: every commit waits for ${quorum.acks} of ${quorum.standbys.join(', ')}`)
  }

  #showNode(name: string, detail: NodeDetail | null): void {
    if (this.#done.has(name)) return
    if (detail === null) {
      this.#view.detail(name, 'the agent starts')
      return
    }
    const { status, task } = detail
    if (task?.task === 'clone') {
      this.#cloning.add(name)
      this.#view.progress(name, {
        label: `${name}: base backup (${task.phase})`,
        bytesDone: task.bytesDone ?? 0,
        bytesTotal: task.bytesTotal,
      })
      return
    }
    // The bar goes, the label comes back.
    if (this.#cloning.delete(name)) this.#view.step(name, name)
    if (!this.#finishNode(status)) this.#view.detail(name, detail.decision.reason)
  }

  /** false: it is not done yet. */
  #finishNode({ name, state, port, upstream }: NodeStatus): boolean {
    if (state === 'running') this.#finish(name, `${name}: primary, on port ${port}`)
    else if (state === 'streaming')
      this.#finish(name, `${name}: streams from ${upstream ?? 'the primary'}, on port ${port}`)
    else return false
    return true
  }

  #finish(id: string, label: string): void {
    if (this.#done.has(id)) return
    this.#done.add(id)
    this.#view.done(id, label)
  }
}
