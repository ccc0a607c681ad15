/** Joins the proxy with the store, the servers and the certificates of one configuration. */
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { createSecureContext } from 'node:tls'
import type { ResolvedConfig, ResolvedNode } from '../config/load.ts'
import { UnderstudyError } from '../errors/codes.ts'
import type { RoutedNode } from '../ports/proxy.ts'
import { socketPath } from '../postgres/layout.ts'
import { PostgresLogins } from '../postgres/logins.ts'
import type { OpenTarget } from '../proxy/open-target.ts'
import { ProxyWorker } from '../proxy/proxy-worker.ts'
import type { ProxySettings } from '../proxy/settings.ts'
import { StoreRouting } from '../proxy/store-routing.ts'
import { openSocket } from '../replication/socket.ts'
import { createClusterStore } from '../store/cluster-store.ts'
import { composeStore, createLog, systemClock } from './compose.ts'

export interface ComposedProxy {
  readonly proxy: ProxyWorker
  /** Looks for the primary from now on. */
  start(): Promise<void>
  stop(drainMs: number): Promise<void>
}

const KEEPALIVE_IDLE_MS = 10_000

/** Errors: config-invalid when it has no proxy, not-found and no-permission for files that are missing. */
export async function composeProxy(config: ResolvedConfig): Promise<ComposedProxy> {
  const settings = settingsOf(config)
  const log = createLog({ part: 'proxy' })
  const caPem = await readFile(config.tls.caFile, 'utf8')
  const store = createClusterStore(await composeStore(config), config.cluster)
  const routing = new StoreRouting(store, config.nodes, log)
  const logins = new PostgresLogins({
    nodes: () => lookupOrder(config.nodes, routing),
    password: (await readFile(config.secrets.proxyPassword, 'utf8')).trim(),
    caPem,
    nowMs: systemClock.nowMs,
  })
  const [cert, key] = await Promise.all([
    readFile(config.tls.certFile('proxy')),
    readFile(config.tls.keyFile('proxy')),
  ])
  const proxy = new ProxyWorker(settings, {
    routing,
    logins,
    openTarget: openTargetOf(config.nodes, caPem),
    secureContext: createSecureContext({ cert, key, minVersion: 'TLSv1.2' }),
    log,
    worker: 0,
  })
  return {
    proxy,
    start: async () => {
      routing.start()
      await proxy.start()
    },
    stop: async (drainMs) => {
      await proxy.stop(drainMs)
      routing.stop()
      logins.close()
      store.close()
    },
  }
}

function settingsOf(config: ResolvedConfig): ProxySettings {
  const { proxy } = config
  if (proxy === null) {
    throw new UnderstudyError('config-invalid', `${config.file} has no proxy`, {
      hint: 'Add `proxy: { ports: { readWrite: 5533 } }`; docs/reference/configuration.md lists its keys.',
    })
  }
  return {
    host: proxy.host,
    ports: { readWrite: proxy.ports.readWrite ?? null },
    poolMode: proxy.poolMode,
    defaultPoolSize: proxy.defaultPoolSize,
    maxClients: proxy.maxClients,
    maxLogins: proxy.maxLogins,
    maxWaiting: proxy.maxWaiting,
    holdTimeoutMs: proxy.holdTimeout,
    loginTimeoutMs: proxy.loginTimeout,
    idleTransactionTimeoutMs: proxy.idleTransactionTimeout,
    serverIdleTimeoutMs: proxy.serverIdleTimeout,
    serverLifetimeMs: proxy.serverLifetime,
    serverConnectTimeoutMs: proxy.serverConnectTimeout,
    maxPreparedStatements: proxy.maxPreparedStatements,
    clientTls: proxy.tls,
  }
}

/** The primary first; a standby knows every role as well, so that logins go on while there is none. */
function lookupOrder(nodes: readonly ResolvedNode[], routing: StoreRouting): readonly LookupNode[] {
  const route = routing.current
  const primary = route.kind === 'open' ? route.primary.name : ''
  const isFirst = (node: ResolvedNode): number => (node.name === primary ? 0 : 1)
  return [...nodes]
    .sort((a, b) => isFirst(a) - isFirst(b))
    .map(({ name, host, port, socketDirectory }) => ({
      name,
      host,
      port,
      socketDirectory: existsSync(socketPath(socketDirectory, port)) ? socketDirectory : undefined,
    }))
}

type LookupNode = RoutedNode & { readonly socketDirectory: string | undefined }

/** A node on this machine is reached through its socket, which is faster and needs no TLS; any other one with `verify-full`. */
function openTargetOf(nodes: readonly ResolvedNode[], caPem: string): OpenTarget {
  const sockets = new Map(nodes.map((node) => [node.name, socketPath(node.socketDirectory, node.port)]))
  return (node, signal) => {
    const path = sockets.get(node.name)
    const local = path !== undefined && existsSync(path)
    return openSocket({
      address: local ? { socketPath: path } : { host: node.host, port: node.port },
      tls: local ? { mode: 'disable' } : { mode: 'verify-full', caPem },
      keepaliveIdleMs: KEEPALIVE_IDLE_MS,
      signal,
    })
  }
}
