/** The HTTP port of a proxy, where it has one: at its address, with its certificate where the agents' API speaks TLS, too. */
import { readFile } from 'node:fs/promises'
import type { ApiTls } from '../api/listen.ts'
import type { ResolvedConfig, ResolvedNode } from '../config/load.ts'
import { UnderstudyError } from '../errors/codes.ts'
import type { Log } from '../ports/log.ts'
import type { ProxyFleet } from '../ports/proxy-view.ts'
import { LOCAL_CERTIFICATE, listenOf } from './compose-proxy.ts'
import { packageVersion } from './version.ts'

export interface ProxyHttpOptions {
  readonly config: ResolvedConfig
  readonly node: ResolvedNode | null
  readonly fleet: ProxyFleet
  readonly workers: number
  /** This process is not a worker itself. */
  readonly isPrimary: boolean
  readonly log: Log
}

export interface ProxyHttp {
  stop(): Promise<void>
}

const RENEW_EVERY_MS = 5_000

/** Does nothing without `proxy.metricsPort`. Errors: port-taken, wrong-host, tls-failed. */
export async function serveProxyHttp(options: ProxyHttpOptions): Promise<ProxyHttp> {
  const { config, node, fleet, workers, isPrimary, log } = options
  const port = config.proxy?.metricsPort
  if (port === undefined) return { stop: async () => {} }
  const [{ createProxyApi }, { serveApp }] = await Promise.all([
    import('../api/proxy-api.ts'),
    import('../api/listen.ts'),
  ])
  const app = createProxyApi({
    ...{ cluster: config.cluster, node: node?.name ?? null, version: packageVersion(), fleet, workers },
    ownMemory: () => (isPrimary ? process.memoryUsage.rss() : null),
  })
  let tls = await readTls(config, node)
  const listening = await serveApp(app, {
    ...{ listen: listenOf(config, node), port, tls },
    what: { owner: 'the metrics of the proxy', listener: 'the proxy' },
  })
  const timer = setInterval(async () => {
    try {
      const now = await readTls(config, node)
      if (now === null || now.cert === tls?.cert) return
      tls = now
      listening.renew(now)
    } catch (error) {
      // Half of a renewal; the workers say so when it stays.
      log.info('the certificate of the metrics is not renewed yet', { reason: String(error) })
    }
  }, RENEW_EVERY_MS)
  timer.unref()
  return {
    stop: async () => {
      clearInterval(timer)
      await listening.stop()
    },
  }
}

/** null: what stays on one machine needs no encryption. Errors: tls-failed. */
async function readTls(config: ResolvedConfig, node: ResolvedNode | null): Promise<ApiTls | null> {
  if (config.nodes.every(({ apiCaFile }) => apiCaFile === null)) return null
  const name = node?.name ?? LOCAL_CERTIFICATE
  try {
    const [cert, key] = await Promise.all([
      readFile(config.tls.certFile(name), 'utf8'),
      readFile(config.tls.keyFile(name), 'utf8'),
    ])
    return { cert, key }
  } catch (error) {
    throw new UnderstudyError('tls-failed', `the certificate of the proxy: ${(error as Error).message}`, {
      cause: error,
    })
  }
}
