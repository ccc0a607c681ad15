/** Serves HTTP at a port, with TLS or without: the agents' API and the proxy's. */
import type { Server } from 'node:http'
import { createServer as createHttpsServer, Server as HttpsServer } from 'node:https'
import { serve } from '@hono/node-server'
import type { Hono } from 'hono'
import { UnderstudyError } from '../errors/codes.ts'

export interface ApiTls {
  readonly cert: string
  readonly key: string
}

export interface ListenOptions {
  /** Addresses of this machine; '*' is every one. */
  readonly listen: readonly string[]
  readonly port: number
  /** null: HTTP without TLS. */
  readonly tls: ApiTls | null
  /** For words: whose port it is, and who listens. */
  readonly what: { readonly owner: string; readonly listener: string }
}

export interface Listening {
  stop(): Promise<void>
  /** From the next connection on it shows this certificate. Does nothing without TLS. */
  renew(tls: ApiTls): void
}

/** Errors: port-taken, wrong-host. */
export async function serveApp(app: Hono, options: ListenOptions): Promise<Listening> {
  const servers: Server[] = []
  const stop = async (): Promise<void> => {
    await Promise.all(servers.map(close))
  }
  try {
    for (const address of options.listen) servers.push(await listenOn(app, address, options))
  } catch (error) {
    await stop()
    throw error
  }
  return {
    stop,
    renew: (tls) => {
      for (const server of servers) if (server instanceof HttpsServer) server.setSecureContext(secured(tls))
    },
  }
}

/** Every address: both families where the machine has both. */
async function listenOn(app: Hono, address: string, options: ListenOptions): Promise<Server> {
  if (address !== '*') return bind(app, address, options)
  try {
    return await bind(app, '::', options)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EAFNOSUPPORT') throw error
    return bind(app, '0.0.0.0', options)
  }
}

function bind(app: Hono, hostname: string, options: ListenOptions): Promise<Server> {
  const { port, tls } = options
  const common = { fetch: app.fetch, hostname, port }
  return new Promise((resolve, reject) => {
    const ready = (): void => resolve(listening)
    const listening = (
      tls === null
        ? serve(common, ready)
        : serve({ ...common, createServer: createHttpsServer, serverOptions: secured(tls) }, ready)
    ) as Server
    listening.on('error', (error: NodeJS.ErrnoException) => reject(classify(error, hostname, options)))
  })
}

function secured({ cert, key }: ApiTls): { cert: string; key: string; minVersion: 'TLSv1.2' } {
  return { cert, key, minVersion: 'TLSv1.2' }
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve())
    // Event streams never end by themselves.
    server.closeAllConnections()
  })
}

function classify(error: NodeJS.ErrnoException, hostname: string, { port, what }: ListenOptions): Error {
  if (error.code === 'EADDRINUSE')
    return new UnderstudyError('port-taken', `port ${port} for ${what.owner} is in use by another program`, {
      cause: error,
    })
  if (error.code === 'EADDRNOTAVAIL')
    return new UnderstudyError(
      'wrong-host',
      `${hostname}, where ${what.listener} is to listen, is no address of this machine`,
      {
        cause: error,
      },
    )
  return error
}
