/**
 * What a client may send before a session exists (manual: "Start-up", "SSL Session Encryption", "Canceling Requests in Progress"):
 * messages without a type byte, told apart by a number that no protocol version is. The input is from somebody unknown.
 */
import { ProtocolViolation } from './violation.ts'

export type StartupPacket =
  /** More bytes are needed. */
  | { readonly kind: 'incomplete' }
  /** A TLS ClientHello: TLS without asking first (PostgreSQL 17, sslnegotiation=direct). */
  | { readonly kind: 'directTls' }
  | { readonly kind: 'sslRequest'; readonly bytes: number }
  | { readonly kind: 'gssEncryptionRequest'; readonly bytes: number }
  | {
      readonly kind: 'cancelRequest'
      readonly processId: number
      readonly secretKey: Buffer
      readonly bytes: number
    }
  | { readonly kind: 'startup'; readonly startup: Startup; readonly bytes: number }

export interface Startup {
  /** 3.`minorVersion`, as asked for. */
  readonly minorVersion: number
  /** As sent, without protocol options; the last of two with one name counts, as in PostgreSQL. */
  readonly parameters: ReadonlyMap<string, string>
  /** Names that begin with `_pq_.`: what is not understood must be answered by name. */
  readonly protocolOptions: readonly string[]
}

/** Protocol 3.2 (PostgreSQL 18) is 3.0 with cancel keys of any length; 3.1 never was. */
export const NEWEST_MINOR_VERSION = 2

const TLS_HANDSHAKE = 0x16
const SSL_REQUEST = 80877103
const GSS_ENCRYPTION_REQUEST = 80877104
const CANCEL_REQUEST = 80877102
/** PostgreSQL's MAX_STARTUP_PACKET_LENGTH. */
const MAX_BYTES = 10_000
const MIN_BYTES = 8
/** Protocol 3.2 allows cancel keys of 4 to 256 bytes. */
const MAX_SECRET_KEY_BYTES = 256

/** Looks at the beginning of `input`. Throws ProtocolViolation. */
export function readStartupPacket(input: Buffer): StartupPacket {
  if (input.length === 0) return { kind: 'incomplete' }
  if (input[0] === TLS_HANDSHAKE) return { kind: 'directTls' }
  if (input.length < 4) return { kind: 'incomplete' }
  const bytes = input.readInt32BE(0)
  if (bytes < MIN_BYTES || bytes > MAX_BYTES) {
    throw new ProtocolViolation(`a start-up packet has the impossible length ${bytes}`)
  }
  if (input.length < bytes) return { kind: 'incomplete' }
  const code = input.readInt32BE(4)
  if (code === SSL_REQUEST || code === GSS_ENCRYPTION_REQUEST) {
    if (bytes !== MIN_BYTES) throw new ProtocolViolation('a request for encryption has more than its number')
    return { kind: code === SSL_REQUEST ? 'sslRequest' : 'gssEncryptionRequest', bytes }
  }
  if (code === CANCEL_REQUEST) return readCancelRequest(input.subarray(0, bytes))
  return { kind: 'startup', startup: readStartup(code, input.subarray(8, bytes)), bytes }
}

function readCancelRequest(packet: Buffer): StartupPacket {
  const keyBytes = packet.length - 12
  if (keyBytes < 4 || keyBytes > MAX_SECRET_KEY_BYTES) {
    throw new ProtocolViolation('a cancel request has no key')
  }
  const secretKey = Buffer.from(packet.subarray(12))
  return { kind: 'cancelRequest', processId: packet.readInt32BE(8), secretKey, bytes: packet.length }
}

function readStartup(version: number, body: Buffer): Startup {
  const major = version >>> 16
  if (major !== 3) {
    throw new ProtocolViolation(
      `unsupported frontend protocol ${major}.${version & 0xffff}: it must be 3.0 or later`,
    )
  }
  const parameters = new Map<string, string>()
  const protocolOptions: string[] = []
  let offset = 0
  for (;;) {
    const name = stringAt(body, offset)
    offset = name.next
    if (name.text === '') break
    const value = stringAt(body, offset)
    offset = value.next
    if (name.text.startsWith('_pq_.')) protocolOptions.push(name.text)
    else parameters.set(name.text, value.text)
  }
  if (offset !== body.length) throw new ProtocolViolation('a start-up packet goes on behind its end')
  return { minorVersion: version & 0xffff, parameters, protocolOptions }
}

function stringAt(body: Buffer, offset: number): { readonly text: string; readonly next: number } {
  const end = body.indexOf(0, offset)
  if (end < 0 || offset >= body.length) throw new ProtocolViolation('a start-up packet is not terminated')
  return { text: body.toString('utf8', offset, end), next: end + 1 }
}
