/** Checks of the proxy: whether clients reach it, what it says of itself in the store, and whether it can look up how roles log in. */
import { readFile } from 'node:fs/promises'
import { TLSSocket } from 'node:tls'
import { ERRORS, toUnderstudyError } from '../../errors/codes.ts'
import type { ProxyReport } from '../../ports/cluster-store.ts'
import type { LoginLookup } from '../../ports/proxy.ts'
import { PostgresLogins } from '../../postgres/logins.ts'
import { readSecret } from '../../postgres/secrets.ts'
import { openSocket } from '../../replication/socket.ts'
import { createClusterStore } from '../../store/cluster-store.ts'
import { composeStore, systemClock } from '../compose.ts'
import { PROXY_PORTS, proxiesAt } from '../connection.ts'
import { plural } from '../humanise.ts'
import { type Check, check, failing, fine, type Judgement, warning } from './check.ts'
import type { Scene } from './scene.ts'

const DEADLINE_MS = 3_000
const STORE_DEADLINE_MS = 3_000
const KEEPALIVE_IDLE_MS = 10_000
const DAY_MS = 86_400_000
/** They are renewed a month before their end, at the latest. */
const SOON_DAYS = 14

export interface DoorFacts {
  readonly address: string
  /** null: it answers, with a certificate that the cluster's authority has signed for this address. */
  readonly problem: { readonly code: string; readonly message: string } | null
  /** Of the certificate; null: none was seen. */
  readonly daysLeft: number | null
}

async function probeDoors({ cluster }: Scene): Promise<readonly DoorFacts[]> {
  if (cluster === null) return []
  const caPem = await readFile(cluster.config.tls.caFile, 'utf8')
  const doors = PROXY_PORTS.flatMap(([name]) => proxiesAt(cluster.config, name) ?? [])
  return Promise.all(doors.map((door) => probeDoor(door, caPem)))
}

async function probeDoor(
  { host, port }: { readonly host: string; readonly port: number },
  caPem: string,
): Promise<DoorFacts> {
  const address = `${host}:${port}`
  try {
    const socket = await openSocket({
      address: { host, port },
      tls: { mode: 'verify-full', caPem },
      keepaliveIdleMs: KEEPALIVE_IDLE_MS,
      signal: AbortSignal.timeout(DEADLINE_MS),
    })
    const until = socket instanceof TLSSocket ? Date.parse(socket.getPeerCertificate().valid_to) : Number.NaN
    socket.destroy()
    const daysLeft = Number.isNaN(until) ? null : Math.floor((until - Date.now()) / DAY_MS)
    return { address, problem: null, daysLeft }
  } catch (error) {
    const { code, message } = toUnderstudyError(error)
    return { address, problem: { code, message }, daysLeft: null }
  }
}

/** A cluster that is down has no proxy either: that is no failure. */
export function judgeDoors(doors: readonly DoorFacts[]): Judgement {
  const broken = doors.filter(({ problem }) => problem !== null)
  const untrusted = broken.filter(({ problem }) => /tls|certificate/.test(problem?.code ?? ''))
  const words = broken.map(({ address, problem }) => `${address}: ${problem?.message}`).join('; ')
  if (untrusted.length > 0)
    return failing(words, 'Look at `understudy rotate certificates`, and at proxy.host.')
  if (broken.length > 0)
    return warning(
      words,
      'Right while the cluster is down. Else look at its log, at `systemctl status` where it runs, and at firewalls.',
    )
  const days = Math.min(...doors.map(({ daysLeft }) => daysLeft ?? Number.POSITIVE_INFINITY))
  const names = doors.map(({ address }) => address).join(', ')
  if (days < SOON_DAYS)
    return warning(
      `${names} answers; its certificate ends in ${plural(days, 'day')}`,
      '`understudy rotate certificates`',
    )
  return fine(
    `${names} ${doors.length === 1 ? 'answers' : 'answer'}, the certificate is good for ${days} days`,
  )
}

export interface PresenceFacts {
  /** Why the store says nothing; null: it does. */
  readonly silent: string | null
  readonly epoch: number | null
  readonly steady: boolean
  readonly proxies: readonly ProxyReport[]
}

async function probePresence({ cluster }: Scene): Promise<PresenceFacts> {
  const nothing = { epoch: null, steady: false, proxies: [] }
  if (cluster === null) return { silent: 'there is no cluster', ...nothing }
  const { config } = cluster
  const store = createClusterStore(await composeStore(config, STORE_DEADLINE_MS), config.cluster)
  try {
    const facts = await store.readFacts()
    const proxies = await store.readProxies()
    if (facts.kind !== 'ok') return { silent: facts.reason, ...nothing }
    if (proxies.kind !== 'ok') return { silent: proxies.reason, ...nothing }
    const primacy = facts.value.primacy?.value ?? null
    return {
      silent: null,
      epoch: primacy?.epoch ?? null,
      steady: primacy?.phase === 'steady',
      proxies: proxies.value,
    }
  } finally {
    store.close()
  }
}

export function judgePresence({ silent, epoch, steady, proxies }: PresenceFacts): Judgement {
  if (silent !== null)
    return warning(`the store does not answer: ${silent}`, 'Right while the cluster is down.')
  if (proxies.length === 0)
    return warning(
      'no proxy has said in the store that it runs: a switchover would interrupt what is under way',
      'Right while none runs. Else look at its log: it does not reach the store.',
    )
  const known = proxies.flatMap(({ name, state }) => (state === null ? [] : [{ name, state }]))
  const behind = known.filter(({ state }) => epoch !== null && state.epoch !== epoch)
  if (behind.length > 0)
    return warning(
      behind
        .map(({ name, state }) => `${name} is in epoch ${state.epoch}, and ${epoch} is in force`)
        .join('; '),
      'Look again in ten seconds. If it stays so, that proxy does not hear of elections: look at its log.',
    )
  const held = known.filter(({ state }) => state.held)
  if (held.length > 0 && steady)
    return warning(
      `${held.map(({ name }) => name).join(', ')} knows no primary that takes writes, though there is one`,
      'Look again in ten seconds. If it stays so, look at its log.',
    )
  const paused = known.filter(({ state }) => state.paused)
  if (paused.length > 0)
    return warning(
      `an operator has paused ${paused.map(({ name }) => name).join(', ')}`,
      '`RESUME` in its console (psql -d pgunderstudy).',
    )
  const clients = known.reduce((all, { state }) => all + state.clients, 0)
  return fine(
    `${plural(proxies.length, 'proxy', 'proxies')} in epoch ${epoch ?? '?'}, ${plural(clients, 'client')}`,
  )
}

/** As the proxy itself does it: its role, its password and its function, at any node. */
async function probeLogins({ cluster }: Scene): Promise<LoginLookup> {
  if (cluster === null) return { kind: 'unavailable', reason: 'there is no cluster' }
  const { config } = cluster
  const password = await readSecret(config.secrets.proxyPassword)
  if (password.kind === 'failed') return { kind: 'unavailable', reason: password.reason }
  const logins = new PostgresLogins({
    nodes: () => config.nodes,
    password: async () => password.value,
    caPem: await readFile(config.tls.caFile, 'utf8'),
    nowMs: systemClock.nowMs,
  })
  try {
    // Present in every cluster, and what is found is not shown.
    return await logins.lookUp(config.postgres.superuser)
  } finally {
    logins.close()
  }
}

export function judgeLogins(lookup: LoginLookup): Judgement {
  if (lookup.kind === 'found') return fine('the proxy’s role can look up how roles log in')
  if (lookup.kind === 'unknown')
    return failing(
      'understudy.login does not know the superuser: it is another function',
      ERRORS.refused.hint,
    )
  return warning(
    `the proxy’s role cannot ask: ${lookup.reason}`,
    'Right while the cluster is down. The agent of the primary makes role and function when `secrets/proxy` is there: `understudy push`.',
  )
}

export const PROXY_CHECKS: readonly Check[] = [
  check('proxy', 'proxy', probeDoors, judgeDoors),
  check('proxy-epoch', 'proxy in the store', probePresence, judgePresence),
  check('proxy-logins', 'logins of the proxy', probeLogins, judgeLogins),
]
