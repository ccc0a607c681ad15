/**
 * Opens the socket of a connection: TCP with keepalive or a Unix socket, and TLS on top of it as PostgreSQL starts it
 * (manual: "SSL Session Encryption"). TLS is always verified in full: chain, dates, and the name or IP address.
 */
import { connect as connectTcp, isIP, isIPv6, type Socket } from 'node:net'
import { checkServerIdentity, connect as connectTls } from 'node:tls'
import { UnderstudyError } from '../errors/codes.ts'
import { sslRequest } from '../protocol/frontend-messages.ts'
import { connectionFailure } from './failures.ts'

export type ServerAddress =
  | { readonly host: string; readonly port: number }
  /** The socket file itself, .../.s.PGSQL.5432; TLS does not exist there. */
  | { readonly socketPath: string }

export type TlsSettings =
  | { readonly mode: 'disable' }
  | {
      readonly mode: 'verify-full'
      /** The CAs that are trusted, and no others. */
      readonly caPem: string
      /** The name or IP address that the certificate must carry; the host connected to when left out. */
      readonly servername?: string
    }

export interface SocketOptions {
  readonly address: ServerAddress
  readonly tls: TlsSettings
  /** How long a peer may be silent before it is probed; it is given up ten seconds later. */
  readonly keepaliveIdleMs: number
  /** Ends the attempt; its reason is thrown. */
  readonly signal: AbortSignal
}

export function describeAddress(address: ServerAddress): string {
  if ('socketPath' in address) return address.socketPath
  return `${isIPv6(address.host) ? `[${address.host}]` : address.host}:${address.port}`
}

/** Gives a connected socket in paused mode. Throws UnderstudyError: connect-failed, tls-failed, certificate-expired. */
export async function openSocket(options: SocketOptions): Promise<Socket> {
  const { address, tls } = options
  const where = describeAddress(address)
  const socket =
    'socketPath' in address
      ? connectTcp({ path: address.socketPath })
      : connectTcp({
          host: address.host,
          port: address.port,
          keepAlive: true,
          keepAliveInitialDelay: options.keepaliveIdleMs,
          noDelay: true,
        })
  // An error that nobody listens to would end the process; whoever waits has a listener of their own.
  socket.on('error', () => undefined)
  const abort = (): void => {
    socket.destroy()
  }
  options.signal.addEventListener('abort', abort, { once: true })
  try {
    await event(socket, 'connect', options.signal)
    if (tls.mode === 'disable' || 'socketPath' in address) return socket
    await requestTls(socket, where, options.signal)
    const name = tls.servername ?? address.host
    const secure = connectTls({
      socket,
      ca: tls.caPem,
      // SNI must not be an IP address (RFC 6066); the identity is checked against `name` all the same.
      servername: isIP(name) === 0 ? name : '',
      minVersion: 'TLSv1.2',
      checkServerIdentity: (_host, certificate) => checkServerIdentity(name, certificate),
    })
    secure.on('error', () => undefined)
    await event(secure, 'secureConnect', options.signal)
    return secure
  } catch (error) {
    socket.destroy()
    throw connectionFailure(error, where)
  } finally {
    options.signal.removeEventListener('abort', abort)
  }
}

async function requestTls(socket: Socket, where: string, signal: AbortSignal): Promise<void> {
  socket.write(sslRequest())
  await event(socket, 'readable', signal)
  const answer: unknown = socket.read()
  if (!Buffer.isBuffer(answer)) throw new Error('the server closed the connection')
  // Bytes after the 'S' were not encrypted: somebody in between could have put them there (CVE-2021-23222).
  if (answer.length !== 1) {
    throw new UnderstudyError('tls-failed', `${where} sent bytes before TLS began`)
  }
  if (answer[0] === 'N'.charCodeAt(0)) {
    throw new UnderstudyError('tls-failed', `${where} does not offer TLS`, {
      hint: 'Switch it on there (ssl = on, with a certificate from this cluster’s CA).',
    })
  }
  if (answer[0] !== 'S'.charCodeAt(0)) {
    throw new UnderstudyError('connect-failed', `${where} refused the connection before TLS began`)
  }
}

/** Resolves at the event; rejects when the socket fails or ends before, or the signal aborts. */
function event(socket: Socket, name: string, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (action: () => void): void => {
      socket.off(name, onEvent)
      socket.off('error', onError)
      socket.off('close', onClose)
      signal.removeEventListener('abort', onAbort)
      action()
    }
    const onEvent = (): void => settle(resolve)
    const onError = (error: Error): void => settle(() => reject(error))
    const onClose = (): void => settle(() => reject(new Error('the server closed the connection')))
    const onAbort = (): void => settle(() => reject(signal.reason))
    socket.on(name, onEvent)
    socket.on('error', onError)
    socket.on('close', onClose)
    signal.addEventListener('abort', onAbort, { once: true })
    if (signal.aborted) onAbort()
  })
}
