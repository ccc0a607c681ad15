/** The ports of a proxy: where they listen, and what is said when they cannot. In a worker of several it is the primary process that listens. */
import { createServer, type Server, type Socket } from 'node:net'
import { UnderstudyError } from '../errors/codes.ts'

const KEEPALIVE_IDLE_MS = 30_000
const BACKLOG = 1024

export interface ListenOptions {
  /** An address of this machine; '*' is every one, in both families where the machine has both. */
  readonly address: string
  readonly port: number
  readonly accept: (socket: Socket) => void
  readonly onError: (error: Error) => void
}

/** Errors: port-taken, wrong-host. */
export async function listenOn(options: ListenOptions): Promise<Server> {
  if (options.address !== '*') return listen(options.address, options)
  try {
    return await listen('::', options)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EAFNOSUPPORT') throw error
    return listen('0.0.0.0', options)
  }
}

function listen(host: string, { port, accept, onError }: ListenOptions): Promise<Server> {
  const server = createServer(
    { noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEPALIVE_IDLE_MS },
    accept,
  )
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(listenFailure(error, host, port)))
    server.listen({ host, port, backlog: BACKLOG }, () => {
      server.on('error', onError)
      resolve(server)
    })
  })
}

function listenFailure(error: NodeJS.ErrnoException, host: string, port: number): Error {
  if (error.code === 'EADDRNOTAVAIL')
    return new UnderstudyError(
      'wrong-host',
      `${host}, where the proxy is to listen, is no address of this machine`,
      { cause: error },
    )
  if (error.code !== 'EADDRINUSE') return error
  return new UnderstudyError('port-taken', `port ${port} for the proxy is in use by another program`, {
    cause: error,
  })
}
