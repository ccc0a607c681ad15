/**
 * SCRAM-SHA-256, the server's side (RFC 5802, RFC 7677; manual: "SASL Authentication"), from a verifier as PostgreSQL stores it. The
 * client's proof gives away its ClientKey, with which whoever holds the same verifier can be logged in to: a proxy's servers.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import {
  hmac,
  parseAttributes,
  SCRAM_SHA_256,
  ScramFailure,
  type ScramLoginKeys,
  storedKeyOf,
  xor,
} from './scram.ts'
import { ProtocolViolation } from './violation.ts'

const NONCE_BYTES = 18
const KEY_BYTES = 32
const MOCK_SALT_BYTES = 16
const MOCK_ITERATIONS = 4096
/** A client's messages are short; PostgreSQL itself takes no more (PG_MAX_SASL_MESSAGE_LENGTH is 1024). */
export const MAX_SASL_MESSAGE_BYTES = 1024

export interface ScramVerifier {
  readonly iterations: number
  /** As stored, in base64. */
  readonly salt: string
  readonly storedKey: Buffer
  readonly serverKey: Buffer
  /** False for a made-up one, which no proof fits. */
  readonly isReal: boolean
}

/** null when it is none: an MD5 hash, no password, or damaged. */
export function parseScramVerifier(text: string): ScramVerifier | null {
  const match = /^SCRAM-SHA-256\$(\d{1,9}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)$/.exec(text)
  if (match === null) return null
  const [, iterations = '', salt = '', stored = '', server = ''] = match
  const storedKey = Buffer.from(stored, 'base64')
  const serverKey = Buffer.from(server, 'base64')
  if (Number(iterations) < 1 || storedKey.length !== KEY_BYTES || serverKey.length !== KEY_BYTES) return null
  return { iterations: Number(iterations), salt, storedKey, serverKey, isReal: true }
}

/**
 * For a user that does not exist: the exchange goes as with one that does, and fails at the proof, so that nobody learns who exists. The
 * same user gets the same salt each time, as long as `secret` stays.
 */
export function mockScramVerifier(user: string, secret: Buffer): ScramVerifier {
  const salt = createHmac('sha256', secret).update(user, 'utf8').digest().subarray(0, MOCK_SALT_BYTES)
  return {
    iterations: MOCK_ITERATIONS,
    salt: salt.toString('base64'),
    storedKey: randomBytes(KEY_BYTES),
    serverKey: randomBytes(KEY_BYTES),
    isReal: false,
  }
}

export class ScramServer {
  readonly #verifier: ScramVerifier
  readonly #serverNonce: string
  #gs2Header = ''
  #clientFirstBare = ''
  #serverFirst = ''
  #nonce = ''

  /** `nonce` is for tests. */
  constructor(verifier: ScramVerifier, nonce: string = randomBytes(NONCE_BYTES).toString('base64')) {
    this.#verifier = verifier
    this.#serverNonce = nonce
  }

  /** Takes client-first-message (SASLInitialResponse), gives server-first-message. Throws ProtocolViolation. */
  first(clientFirst: Buffer): Buffer {
    const text = clientFirst.toString('utf8')
    // 'y': the client could bind to a channel and believes that we cannot, which is so. An authorization identity is not taken.
    const match = /^([ny],,)(n=[^,]*,r=([^,]+)(?:,.*)?)$/s.exec(text)
    if (match?.[1] === undefined || match[2] === undefined || match[3] === undefined) {
      throw new ProtocolViolation('the first SCRAM message is malformed, or asks for channel binding')
    }
    this.#gs2Header = match[1]
    this.#clientFirstBare = match[2]
    this.#nonce = `${match[3]}${this.#serverNonce}`
    this.#serverFirst = `r=${this.#nonce},s=${this.#verifier.salt},i=${this.#verifier.iterations}`
    return Buffer.from(this.#serverFirst, 'utf8')
  }

  /**
   * Takes client-final-message (SASLResponse), gives server-final-message and the keys. Throws ScramFailure when the proof does not fit,
   * ProtocolViolation when it is malformed.
   */
  final(clientFinal: Buffer): { readonly message: Buffer; readonly keys: ScramLoginKeys } {
    const text = clientFinal.toString('utf8')
    const proofAt = text.lastIndexOf(',p=')
    if (proofAt < 0) throw new ProtocolViolation('the last SCRAM message has no proof')
    const attributes = parseAttributes(text)
    const binding = Buffer.from(this.#gs2Header, 'utf8').toString('base64')
    if (attributes.get('c') !== binding || attributes.get('r') !== this.#nonce) {
      throw new ProtocolViolation('the last SCRAM message belongs to another exchange')
    }
    const proof = Buffer.from(attributes.get('p') ?? '', 'base64')
    if (proof.length !== KEY_BYTES) throw new ProtocolViolation('the SCRAM proof has the wrong length')
    const authMessage = `${this.#clientFirstBare},${this.#serverFirst},${text.slice(0, proofAt)}`
    const { storedKey, serverKey, isReal } = this.#verifier
    const clientKey = xor(proof, hmac(storedKey, authMessage))
    const fits = timingSafeEqual(storedKeyOf(clientKey), storedKey)
    if (!fits || !isReal) throw new ScramFailure('the proof does not fit the verifier')
    const signature = hmac(serverKey, authMessage).toString('base64')
    return { message: Buffer.from(`v=${signature}`, 'utf8'), keys: { clientKey, serverKey } }
  }
}

/** SASLInitialResponse: the mechanism and its first data. Throws ProtocolViolation. */
export function readSaslInitialResponse(body: Buffer): { readonly mechanism: string; readonly data: Buffer } {
  const end = body.indexOf(0)
  if (end < 0 || body.length < end + 5) throw new ProtocolViolation('the first SASL message is cut short')
  const length = body.readInt32BE(end + 1)
  const data = body.subarray(end + 5)
  if (length !== data.length) throw new ProtocolViolation('the first SASL message has the wrong length')
  const mechanism = body.toString('utf8', 0, end)
  if (mechanism !== SCRAM_SHA_256) {
    throw new ProtocolViolation(`the SASL mechanism ${mechanism.slice(0, 40)} is not offered`)
  }
  return { mechanism, data }
}
