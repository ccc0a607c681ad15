/** Checks of a cluster on several machines: whether this is the bundle's machine, and whether the store and the other nodes are there. */
import type { IncomingMessage } from 'node:http'
import { failureOf, request } from '../../api/request.ts'
import type { ResolvedNode } from '../../config/load.ts'
import { ERRORS, toUnderstudyError, type UnderstudyError } from '../../errors/codes.ts'
import { createClusterStore } from '../../store/cluster-store.ts'
import { composeStore } from '../compose.ts'
import { humanDuration } from '../humanise.ts'
import { checkPlacement, readBundleMark } from '../machines/placement.ts'
import { type Check, check, failing, fine, type Judgement, warning } from './check.ts'
import type { Scene } from './scene.ts'

const DEADLINE_MS = 3_000
const STORE_DEADLINE_MS = 5_000

async function probePlacement({ cluster, self }: Scene): Promise<UnderstudyError | null> {
  if (cluster === null || self === null) return null
  const { config } = cluster
  try {
    await checkPlacement(config, self, await readBundleMark(config.file))
    return null
  } catch (error) {
    return toUnderstudyError(error)
  }
}

export function judgePlacement(error: UnderstudyError | null, self: string | null): Judgement {
  if (error !== null) return failing(error.message, error.hint)
  return fine(
    self === null ? 'the operator’s directory, which is no node' : `the bundle of ${self}, on its machine`,
  )
}

/** null: it answers and lets us in. */
async function probeStore({ cluster }: Scene): Promise<string | null> {
  if (cluster === null) return null
  const store = createClusterStore(
    await composeStore(cluster.config, STORE_DEADLINE_MS),
    cluster.config.cluster,
  )
  try {
    const facts = await store.readFacts()
    return facts.kind === 'ok' ? null : facts.reason
  } finally {
    store.close()
  }
}

export function judgeStore(reason: string | null): Judgement {
  if (reason === null) return fine('answers')
  return failing(`does not answer: ${reason}`, ERRORS['store-unreachable'].hint)
}

export interface PeerFacts {
  readonly node: string
  /** null: it answers. */
  readonly failure: string | null
  /** How far its clock is ahead of this one; null: not known. */
  readonly aheadMs: number | null
}

async function probePeers({ cluster, self }: Scene): Promise<readonly PeerFacts[]> {
  const others = cluster?.config.nodes.filter(({ name }) => name !== self?.name) ?? []
  return Promise.all(others.map(probePeer))
}

async function probePeer(node: ResolvedNode): Promise<PeerFacts> {
  const sentAtMs = Date.now()
  try {
    const { headers } = await ask(node)
    const date = Date.parse(headers.date ?? '')
    // The header counts whole seconds; what the answer took is nobody's clock.
    const middleMs = (sentAtMs + Date.now()) / 2
    return { node: node.name, failure: null, aheadMs: Number.isNaN(date) ? null : date + 500 - middleMs }
  } catch (error) {
    return { node: node.name, failure: failureOf(error), aheadMs: null }
  }
}

function ask({ host, apiPort: port, apiCaFile: caFile }: ResolvedNode): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(DEADLINE_MS)
    const sent = request({ host, port, caFile, path: '/v1/alive', agent: false, signal }, (response) => {
      response.resume()
      resolve(response)
    })
    sent.on('error', (error) => reject(signal.aborted ? new Error('no answer in time') : error))
    sent.end()
  })
}

/** Before the first start of the others nobody answers: that is no failure. */
export function judgePeers(facts: readonly PeerFacts[]): Judgement {
  const silent = facts.filter(({ failure }) => failure !== null)
  const names = facts.map(({ node }) => node).join(', ')
  if (silent.length === 0) return fine(facts.length === 0 ? 'none' : `${names} answer`)
  return warning(
    silent.map(({ node, failure }) => `${node}: ${failure}`).join('; '),
    'Right before their agents run. Else look at `systemctl status` there, at firewalls (the ports of PostgreSQL, the agent and etcd), and at names and certificates.',
  )
}

const APART_MS = 5_000
/** Certificates begin a day in the past. */
const FAR_APART_MS = 12 * 3_600_000

export function judgeClocks(facts: readonly PeerFacts[]): Judgement {
  const known = facts.flatMap(({ node, aheadMs }) => (aheadMs === null ? [] : [{ node, aheadMs }]))
  const apart = known.filter(({ aheadMs }) => Math.abs(aheadMs) > APART_MS)
  if (apart.length === 0)
    return fine(known.length === 0 ? 'nobody to compare with' : 'together, within seconds')
  const words = apart.map(
    ({ node, aheadMs }) =>
      `${node} is ${humanDuration(Math.abs(aheadMs))} ${aheadMs > 0 ? 'ahead' : 'behind'}`,
  )
  const judge = apart.some(({ aheadMs }) => Math.abs(aheadMs) > FAR_APART_MS) ? failing : warning
  return judge(
    `${words.join('; ')}: nothing is decided by it, but logs and events do not fit together, and certificates may seem invalid`,
    ERRORS['clock-wrong'].hint,
  )
}

export const MEMBER_CHECKS: readonly Check[] = [
  {
    id: 'placement',
    title: 'bundle',
    examine: async (scene) => judgePlacement(await probePlacement(scene), scene.self?.name ?? null),
  },
  check('store', 'store', probeStore, judgeStore),
  check('nodes', 'other nodes', probePeers, judgePeers),
  check('clocks', 'clocks', probePeers, judgeClocks),
]
