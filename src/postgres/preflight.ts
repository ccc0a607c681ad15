/** What would make a start fail, found before it: said in one sentence instead of a log to be read. */
import { once } from 'node:events'
import { statfs } from 'node:fs/promises'
import { createServer } from 'node:net'
import type { Outcome } from '../ports/postgres.ts'
import { certificateState } from './certificate-state.ts'
import type { TlsPaths } from './configuration-input.ts'
import { MAX_SOCKET_PATH_BYTES, socketPath } from './layout.ts'
import { DONE, failed, systemErrorCode } from './outcome.ts'

/** PostgreSQL fills a new WAL segment with zeros before it accepts anything, and recovery may need one more. */
const NEEDED_WAL_SEGMENTS = 2
const WAL_SEGMENT_BYTES = 16 * 1024 * 1024

export interface PreflightOptions {
  readonly dataDir: string
  readonly tls: TlsPaths
  readonly port: number
  readonly listenAddresses: readonly string[]
  readonly socketDirectory: string
}

export async function preflight(options: PreflightOptions): Promise<Outcome> {
  const checks = [checkSocketPath, checkCertificate, checkSpace, checkPort]
  for (const check of checks) {
    const result = await check(options)
    if (result.kind === 'failed') return result
  }
  return DONE
}

async function checkSocketPath(options: PreflightOptions): Promise<Outcome> {
  const path = socketPath(options.socketDirectory, options.port)
  const bytes = Buffer.byteLength(path)
  return bytes <= MAX_SOCKET_PATH_BYTES
    ? DONE
    : failed(
        'path-too-long',
        `the socket's path ${path} has ${bytes} bytes, ${MAX_SOCKET_PATH_BYTES} is the limit`,
      )
}

/**
 * PostgreSQL itself would start with an expired certificate; no standby could then connect (verify-full), and under a quorum every
 * commit would wait without a word. Refusing says it where it can be mended.
 */
async function checkCertificate(options: PreflightOptions): Promise<Outcome> {
  const { certificate, key, ca } = options.tls
  const state = await certificateState(certificate, { key, authority: ca })
  if (state.kind === 'failed') return state
  switch (state.value.kind) {
    case 'expired':
      return failed('certificate-expired', `${certificate} expired on ${state.value.notAfter.toISOString()}`)
    case 'notYetValid':
      return failed(
        'clock-wrong',
        `the clock is before the beginning of ${certificate} (${state.value.notBefore.toISOString()})`,
      )
    case 'mismatch':
      return failed('tls-failed', `${certificate} cannot be used: ${state.value.reason}`)
    case 'absent':
      return failed('tls-failed', `the certificate ${certificate} is missing`)
    default:
      return DONE
  }
}

/** A full disk makes recovery end in a PANIC, and PostgreSQL restart again and again: better not to begin. */
async function checkSpace(options: PreflightOptions): Promise<Outcome> {
  const system = await statfs(options.dataDir).catch(() => null)
  if (system === null) return DONE
  const free = system.bavail * system.bsize
  return free >= NEEDED_WAL_SEGMENTS * WAL_SEGMENT_BYTES
    ? DONE
    : failed('no-space', `only ${Math.floor(free / 1024 / 1024)} MB are free for ${options.dataDir}`)
}

/** With several addresses PostgreSQL only warns when one of them is taken, and would be reachable in part. */
async function checkPort(options: PreflightOptions): Promise<Outcome> {
  for (const address of options.listenAddresses) {
    for (const host of address === '*' ? ['0.0.0.0', '::'] : [address]) {
      if (!(await isTaken(host, options.port))) continue
      return failed('port-taken', `port ${options.port} on ${host} is used by another program`)
    }
  }
  return DONE
}

async function isTaken(host: string, port: number): Promise<boolean> {
  const server = createServer()
  try {
    server.listen({ host, port, exclusive: true, ipv6Only: true })
    await once(server, 'listening')
    return false
  } catch (error) {
    // Any other reason (an address that this machine does not have) is PostgreSQL's to report.
    return systemErrorCode(error) === 'EADDRINUSE'
  } finally {
    if (server.listening) {
      server.close()
      await once(server, 'close')
    }
  }
}
