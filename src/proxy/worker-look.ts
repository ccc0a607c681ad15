/** A worker as its console and its metrics show it. Made only when somebody asks. */
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import { formatLsn } from '../core/lsn.ts'
import type { Route } from '../ports/proxy.ts'
import type { PoolView, ServerView, SessionView, WorkerView } from '../ports/proxy-view.ts'
import type { ClientSession } from './client-session.ts'
import type { Pools } from './pools.ts'
import type { RotationEntry } from './reads/rotation.ts'
import type { ServerConnection } from './server-connection.ts'
import type { ProxySettings } from './settings.ts'
import { poolModeOf, poolSizeOf } from './shares.ts'
import type { TrafficTable } from './traffic.ts'

/** What a session does not know of itself. */
export interface SessionFacts {
  /** Process number of its cancel key: unique over the workers. */
  readonly id: number
  readonly address: string
  readonly port: number
  /** '': no TLS. */
  readonly tls: string
  readonly connectedAtMs: number
}

/** Asked before the session begins to read: then the socket may be another one. */
export function factsOf(socket: Socket, id: number): SessionFacts {
  return {
    id,
    address: socket.remoteAddress ?? '',
    port: socket.remotePort ?? 0,
    tls: tlsOf(socket),
    connectedAtMs: performance.now(),
  }
}

export interface LookedAt {
  readonly worker: number
  readonly startedAtMs: number
  readonly settings: ProxySettings
  readonly route: Route
  readonly pools: Pools
  readonly traffic: TrafficTable
  readonly standbys: readonly RotationEntry[]
  readonly sessions: ReadonlyMap<ClientSession, SessionFacts>
  readonly logins: number
  readonly refused: { readonly clients: number; readonly logins: number }
}

export function lookAt(parts: LookedAt, withSessions: boolean): WorkerView {
  const nowMs = performance.now()
  const { route, pools } = parts
  const { user, system } = process.cpuUsage()
  const open = route.kind === 'open'
  return {
    worker: parts.worker,
    pid: process.pid,
    startedAt: instant(parts.startedAtMs),
    clients: parts.sessions.size,
    logins: parts.logins,
    waitingBytes: pools.waiting.bytes,
    residentBytes: process.memoryUsage.rss(),
    cpuSeconds: (user + system) / 1_000_000,
    route: {
      kind: route.kind,
      epoch: route.epoch,
      primary: open ? route.primary : null,
      reason: open ? '' : route.reason,
    },
    refused: { ...parts.refused, waiting: pools.waiting.refused },
    standbys: parts.standbys.map(({ replayLsn, isSilent: _, ...each }) => ({
      ...each,
      replayLsn: replayLsn === null ? null : formatLsn(replayLsn),
    })),
    pools: poolViews(parts, nowMs),
    traffic: parts.traffic.all,
    lastPeriod: parts.traffic.lastPeriod,
    sessions: withSessions ? [...parts.sessions].map((each) => sessionView(...each, nowMs)) : [],
    servers: withSessions ? serverViews(parts, nowMs) : [],
  }
}

type Counts = { -readonly [Key in keyof PoolView]: PoolView[Key] }

function poolViews({ pools, sessions, settings }: LookedAt, nowMs: number): readonly PoolView[] {
  const views = new Map<string, Counts>()
  const viewOf = (owner: { readonly database: string; readonly user: string }): Counts => {
    const key = `${owner.database}\0${owner.user}`
    const known = views.get(key)
    if (known !== undefined) return known
    const view: Counts = {
      ...{ database: owner.database, user: owner.user },
      ...{ mode: poolModeOf(settings, owner), size: poolSizeOf(settings, owner) },
      paused: pools.isPaused(owner.database),
      ...{ clientsActive: 0, clientsWaiting: 0, clientsIdle: 0 },
      ...{ serversActive: 0, serversIdle: 0, serversCancelling: 0, serversOpening: 0, longestWaitMs: 0 },
    }
    views.set(key, view)
    return view
  }
  for (const pool of pools.all) {
    const view = viewOf(pool.key)
    const { servers, opening, longestWaitMs } = pool.look(nowMs)
    view.serversOpening += opening
    view.longestWaitMs = Math.max(view.longestWaitMs, longestWaitMs)
    for (const server of servers) {
      if (server.cancelling > 0) view.serversCancelling++
      else if (server.client === null && server.isIdle) view.serversIdle++
      else view.serversActive++
    }
  }
  for (const session of sessions.keys()) {
    const view = viewOf(session.pool.key)
    if (session.server !== null) view.clientsActive++
    else if (session.isWaiting) view.clientsWaiting++
    else view.clientsIdle++
  }
  return [...views.values()]
}

function sessionView(session: ClientSession, facts: SessionFacts, nowMs: number): SessionView {
  const { server, pool, waitingSinceMs } = session
  return {
    id: facts.id,
    database: pool.key.database,
    user: pool.key.user,
    state: server !== null ? 'active' : session.isWaiting ? 'waiting' : 'idle',
    mode: session.mode,
    address: facts.address,
    port: facts.port,
    connectedAt: instant(facts.connectedAtMs),
    waitMs: session.isWaiting && waitingSinceMs > 0 ? nowMs - waitingSinceMs : 0,
    serverPid: server?.processId ?? null,
    tls: facts.tls,
    applicationName: session.parameters.get('application_name') ?? '',
    statements: session.statements.size,
  }
}

function serverViews({ pools, sessions }: LookedAt, nowMs: number): readonly ServerView[] {
  const clients = new Map<ServerConnection, number>()
  for (const [{ server }, { id }] of sessions) if (server !== null) clients.set(server, id)
  return pools.all.flatMap((pool) =>
    pool.look(nowMs).servers.map((server): ServerView => {
      const idle = server.client === null && server.isIdle
      return {
        pid: server.processId,
        database: pool.key.database,
        user: pool.key.user,
        state: server.cancelling > 0 ? 'cancelling' : idle ? 'idle' : 'active',
        ...{ node: server.node.name, host: server.node.host, port: server.node.port, epoch: server.epoch },
        transaction: server.status,
        connectedAt: instant(server.startedAtMs),
        idleMs: server.requests.isEmpty ? nowMs - server.idleSinceMs : null,
        clientId: clients.get(server) ?? null,
        applicationName: server.parameters.get('application_name') ?? '',
        statements: server.prepared.size,
      }
    }),
  )
}

function tlsOf(socket: Socket): string {
  if (!(socket instanceof TLSSocket)) return ''
  return `${socket.getProtocol() ?? ''}/${socket.getCipher()?.name ?? ''}`
}

/** Of a moment of this process's own clock. */
function instant(atMs: number): string {
  return new Date(performance.timeOrigin + atMs).toISOString()
}
