/** Joins a worker of the proxy with the store, the servers and the certificates of one configuration. */
import { createHmac } from 'node:crypto'
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { AgentPositions } from '../api/positions.ts'
import { isLoopback } from '../config/fields.ts'
import type { ResolvedConfig, ResolvedNode } from '../config/load.ts'
import { UnderstudyError } from '../errors/codes.ts'
import type { ClusterStore } from '../ports/cluster-store.ts'
import type { Log } from '../ports/log.ts'
import type { RoutedNode } from '../ports/proxy.ts'
import type { Reloaded } from '../ports/proxy-view.ts'
import { socketPath } from '../postgres/layout.ts'
import { PostgresLogins } from '../postgres/logins.ts'
import { PostgresPrimaryPositions } from '../postgres/primary-positions.ts'
import { readSecret } from '../postgres/secrets.ts'
import { Drain } from '../proxy/drain.ts'
import type { OpenTarget } from '../proxy/open-target.ts'
import { ProxyWorker } from '../proxy/proxy-worker.ts'
import type { ProxySettings } from '../proxy/settings.ts'
import { StoreRouting } from '../proxy/store-routing.ts'
import type { WorkerLink } from '../proxy/worker-link.ts'
import { openSocket } from '../replication/socket.ts'
import { systemClock } from './compose.ts'
import { ProxyFiles } from './proxy-files.ts'
import { configRows } from './proxy-keys.ts'
import { packageVersion } from './version.ts'

export interface WorkerOptions {
  readonly config: ResolvedConfig
  /** The one at which it runs, whose address and certificate are the proxy's too; null: that of a local cluster. */
  readonly node: ResolvedNode | null
  readonly store: ClusterStore
  readonly log: Log
  /** Which of how many. */
  readonly worker: number
  readonly workers: number
  /** null: it is alone, and the whole proxy. */
  readonly link: WorkerLink | null
  /** Nothing is under way any more under this hold. */
  readonly onDrained: (hold: string) => void
}

export interface ComposedWorker {
  readonly proxy: ProxyWorker
  /** Looks for the primary from now on. Errors: port-taken, wrong-host. */
  start(): Promise<void>
  /** The store is left to whoever has opened it. */
  stop(drainMs: number): Promise<void>
  reload(): Promise<Reloaded>
}

const KEEPALIVE_IDLE_MS = 10_000
/** Of a local cluster's own certificate for it. */
export const LOCAL_CERTIFICATE = 'proxy'

/** Errors: config-invalid when there is no proxy, usage, not-found and no-permission for files that are missing, tls-failed. */
export async function composeWorker(options: WorkerOptions): Promise<ComposedWorker> {
  const { config, node, store, log, worker, workers, link } = options
  const settings = settingsOf(config, node)
  const caPem = await readFile(config.tls.caFile, 'utf8')
  const routing = new StoreRouting({ store, members: config.nodes, log, clock: systemClock })
  const files: ProxyFiles = await ProxyFiles.open({
    ...{ config, certificate: node?.name ?? LOCAL_CERTIFICATE, log },
    onNodes: (nodes) => routing.setMembers(nodes),
    onSettings: (changed) => proxy.reconfigure(settingsOf(changed, node)),
  })
  const logins = new PostgresLogins({
    nodes: () => lookupOrder(files.nodes, routing),
    password: () => readProxyPassword(config),
    caPem,
    nowMs: systemClock.nowMs,
  })
  const password = await readProxyPassword(config)
  const positions = new AgentPositions(() => files.nodes)
  const primaryPositions = new PostgresPrimaryPositions({
    socketDirectory: ({ name }) => socketDirectoryOf(files.nodes.find((node) => node.name === name)),
    password: () => readProxyPassword(config),
    caPem,
  })
  const proxy: ProxyWorker = new ProxyWorker(settings, {
    ...{ routing, logins, log, worker, workers },
    openTarget: openTargetOf(() => files.nodes, caPem, config.postgres.clientAccess === 'standard'),
    secureContext: () => files.secureContext,
    reads: { positions, primaryPositions },
    ...(link !== null && {
      fleet: link,
      foreignCancel: (whose: number, processId: number, secretKey: Buffer) =>
        link.cancel(whose, processId, secretKey),
    }),
    mockSecret: createHmac('sha256', password).update('salts of roles that do not exist').digest(),
    reload: () => files.look(),
    console: {
      version: packageVersion(),
      config: () => configRows(config.proxy, files.settings),
      explainRoute: (sql) => proxy.explainRoute(sql),
    },
  })
  const drain = new Drain({ routing, underWay: () => proxy.underWay, onDrained: options.onDrained })
  return {
    proxy,
    start: async () => {
      routing.start()
      files.start()
      await proxy.start()
    },
    stop: async (drainMs) => {
      await proxy.stop(drainMs)
      drain.stop()
      files.stop()
      routing.stop()
      logins.close()
      positions.close()
      primaryPositions.close()
    },
    reload: () => files.look(),
  }
}

/** Errors: no-permission. */
async function readProxyPassword({ secrets }: ResolvedConfig): Promise<string> {
  const read = await readSecret(secrets.proxyPassword)
  if (read.kind === 'ok') return read.value
  throw new UnderstudyError(read.code, read.reason, {
    hint:
      read.hint ??
      'It is made by `understudy up`, or by `understudy push` where `understudy init` has written, which brings it to the nodes.',
  })
}

function settingsOf(config: ResolvedConfig, node: ResolvedNode | null): ProxySettings {
  const { proxy, postgres } = config
  if (proxy === null) {
    throw new UnderstudyError('config-invalid', `${config.file} has no proxy`, {
      hint: 'Add `proxy: { ports: { auto: 6432, readWrite: 6433, readOnly: 6434 } }`; docs/reference/configuration.md lists its keys.',
    })
  }
  return {
    listen: listenOf(config, node),
    ports: {
      auto: proxy.ports.auto ?? null,
      readWrite: proxy.ports.readWrite ?? null,
      readOnly: proxy.ports.readOnly ?? null,
    },
    reads: {
      level: proxy.reads.level,
      maxLagMs: proxy.reads.maxLag,
      waitMs: proxy.reads.wait,
      readOnlyFallback: proxy.reads.readOnlyFallback,
    },
    poolMode: proxy.poolMode,
    defaultPoolSize: proxy.defaultPoolSize,
    pools: proxy.pools,
    maxClients: proxy.maxClients,
    maxLogins: proxy.maxLogins,
    maxWaiting: proxy.maxWaiting,
    maxWaitingBytes: proxy.maxWaitingBytes,
    holdTimeoutMs: proxy.holdTimeout,
    loginTimeoutMs: proxy.loginTimeout,
    idleTransactionTimeoutMs: proxy.idleTransactionTimeout,
    serverIdleTimeoutMs: proxy.serverIdleTimeout,
    serverLifetimeMs: proxy.serverLifetime,
    serverConnectTimeoutMs: proxy.serverConnectTimeout,
    maxPreparedStatements: proxy.maxPreparedStatements,
    maxClientStatements: proxy.maxClientStatements,
    resolveCommits: proxy.resolveCommits,
    clientTls: proxy.tls,
    consoleRoles: [postgres.superuser, ...proxy.consoleRoles],
  }
}

/** Errors: usage, when nothing says at which node this is. */
export function listenOf({ proxy, nodes }: ResolvedConfig, node: ResolvedNode | null): readonly string[] {
  if (proxy?.host !== undefined) return [proxy.host]
  if (node !== null) return node.listen
  const hosts = [...new Set(nodes.map(({ host }) => host))]
  if (hosts.every(isLoopback)) return hosts
  throw new UnderstudyError('usage', 'at which node does this proxy run?', {
    hint: 'Say --node NAME: it listens where that node does, with its certificate. Or give the proxy an address: proxy.host.',
  })
}

/** The primary first; a standby knows every role as well, so that logins go on while there is none. */
function lookupOrder(nodes: readonly ResolvedNode[], routing: StoreRouting): readonly LookupNode[] {
  const route = routing.current
  const primary = route.kind === 'open' ? route.primary.name : ''
  const isFirst = (node: ResolvedNode): number => (node.name === primary ? 0 : 1)
  return [...nodes]
    .sort((a, b) => isFirst(a) - isFirst(b))
    .map((node) => ({
      ...{ name: node.name, host: node.host, port: node.port },
      socketDirectory: socketDirectoryOf(node),
    }))
}

/** undefined: the node is on another machine. */
function socketDirectoryOf(node: ResolvedNode | undefined): string | undefined {
  if (node === undefined) return undefined
  return existsSync(socketPath(node.socketDirectory, node.port)) ? node.socketDirectory : undefined
}

type LookupNode = RoutedNode & { readonly socketDirectory: string | undefined }

/**
 * A node on this machine is reached through its socket, which is faster and needs no TLS; any other one with `verify-full`. Where clients are
 * let in by a person's own lines of pg_hba.conf, those of sockets know people by the user that they are there (peer), which the proxy is not.
 */
function openTargetOf(nodes: () => readonly ResolvedNode[], caPem: string, usesSockets: boolean): OpenTarget {
  return (node, signal) => {
    const member = nodes().find(({ name }) => name === node.name)
    const path = member === undefined ? null : socketPath(member.socketDirectory, member.port)
    const local = usesSockets && path !== null && existsSync(path)
    return openSocket({
      address: local ? { socketPath: path } : { host: node.host, port: node.port },
      tls: local ? { mode: 'disable' } : { mode: 'verify-full', caPem },
      keepaliveIdleMs: KEEPALIVE_IDLE_MS,
      signal,
    })
  }
}
