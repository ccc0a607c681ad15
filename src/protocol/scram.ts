/**
 * SCRAM-SHA-256, the client's side (RFC 5802, RFC 7677; manual: "SASL Authentication"), and the verifier that PostgreSQL
 * stores (pg_authid.rolpassword), so that a role gets its password without the password ever standing in an SQL statement.
 *
 * Channel binding is not used: connections are verified in full (verify-full), which is what it would add.
 */
import { createHash, createHmac, pbkdf2Sync, randomBytes, timingSafeEqual } from 'node:crypto'
import { saslPrep } from './saslprep.ts'
import { ProtocolViolation } from './violation.ts'

export const SCRAM_SHA_256 = 'SCRAM-SHA-256'

/** "n,,": no channel binding, no authorization identity. */
const GS2_HEADER = 'n,,'
const NONCE_BYTES = 18
const SALT_BYTES = 16
const DEFAULT_ITERATIONS = 4096
/** A hostile server could ask for hours of hashing; PostgreSQL's own default is 4096. */
const MAX_ITERATIONS = 1_000_000

/** The exchange is well formed and says no: a wrong password on either side. */
export class ScramFailure extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'ScramFailure'
  }
}

/** What proves a password without being it: enough to log in wherever the same verifier is stored, and nowhere else. */
export interface ScramLoginKeys {
  readonly clientKey: Buffer
  readonly serverKey: Buffer
}

export class ScramClient {
  readonly #secret: { readonly password: string } | { readonly keys: ScramLoginKeys }
  readonly #firstBare: string
  readonly #nonce: string
  #serverSignature: Buffer | null = null
  #verified = false

  /**
   * `user` stays empty with PostgreSQL, which takes the name from the StartupMessage; `nonce` is for tests (printable
   * ASCII without commas). `keys` take the place of the password where somebody else's login has shown them.
   */
  constructor(
    options: ({ readonly password: string } | { readonly keys: ScramLoginKeys }) & {
      readonly user?: string
      readonly nonce?: string
    },
  ) {
    this.#secret = options
    this.#nonce = options.nonce ?? randomBytes(NONCE_BYTES).toString('base64')
    const user = (options.user ?? '').replaceAll('=', '=3D').replaceAll(',', '=2C')
    this.#firstBare = `n=${user},r=${this.#nonce}`
  }

  /** True once the server has proved that it knows the password too. AuthenticationOk before that is an impostor's. */
  get verified(): boolean {
    return this.#verified
  }

  /** client-first-message, for SASLInitialResponse. */
  first(): Buffer {
    return Buffer.from(`${GS2_HEADER}${this.#firstBare}`, 'utf8')
  }

  /** Takes server-first-message (AuthenticationSASLContinue), gives client-final-message (SASLResponse). */
  proceed(serverFirst: Buffer): Buffer {
    const text = serverFirst.toString('utf8')
    const attributes = parseAttributes(text)
    const nonce = attributes.get('r') ?? ''
    const salt = Buffer.from(attributes.get('s') ?? '', 'base64')
    const iterations = Number(attributes.get('i'))
    // A nonce that is not ours continued belongs to somebody else's exchange: a replay.
    if (!nonce.startsWith(this.#nonce) || nonce.length === this.#nonce.length) {
      throw new ProtocolViolation('the server’s SCRAM nonce does not continue ours')
    }
    if (salt.length === 0 || !Number.isInteger(iterations) || iterations < 1 || iterations > MAX_ITERATIONS) {
      throw new ProtocolViolation('the server’s SCRAM salt or iteration count makes no sense')
    }
    const keys = this.#keys(salt, iterations)
    const withoutProof = `c=${Buffer.from(GS2_HEADER).toString('base64')},r=${nonce}`
    const authMessage = `${this.#firstBare},${text},${withoutProof}`
    const proof = xor(keys.clientKey, hmac(storedKeyOf(keys.clientKey), authMessage))
    this.#serverSignature = hmac(keys.serverKey, authMessage)
    return Buffer.from(`${withoutProof},p=${proof.toString('base64')}`, 'utf8')
  }

  #keys(salt: Buffer, iterations: number): ScramLoginKeys {
    if ('keys' in this.#secret) return this.#secret.keys
    return deriveKeys(saltPassword(this.#secret.password, salt, iterations))
  }

  /** Takes server-final-message (AuthenticationSASLFinal). Throws ScramFailure when the server does not know the password. */
  finish(serverFinal: Buffer): void {
    const attributes = parseAttributes(serverFinal.toString('utf8'))
    const refusal = attributes.get('e')
    if (refusal !== undefined) throw new ScramFailure(`the server refused the SCRAM exchange: ${refusal}`)
    const signature = Buffer.from(attributes.get('v') ?? '', 'base64')
    const expected = this.#serverSignature
    if (expected === null || signature.length !== expected.length || !timingSafeEqual(signature, expected)) {
      throw new ScramFailure('the server could not prove that it knows the password')
    }
    this.#verified = true
  }
}

/**
 * The verifier that `ALTER ROLE ... PASSWORD '...'` stores as it is: `SCRAM-SHA-256$4096:salt$StoredKey:ServerKey`, keys
 * and salt in base64. It does not reveal the password.
 */
export function scramVerifier(options: {
  readonly password: string
  /** 16 random bytes when left out. */
  readonly salt?: Buffer
  readonly iterations?: number
}): string {
  const salt = options.salt ?? randomBytes(SALT_BYTES)
  const iterations = options.iterations ?? DEFAULT_ITERATIONS
  const keys = deriveKeys(saltPassword(options.password, salt, iterations))
  const stored = `${keys.storedKey.toString('base64')}:${keys.serverKey.toString('base64')}`
  return `${SCRAM_SHA_256}$${iterations}:${salt.toString('base64')}$${stored}`
}

/** Whether `verifier`, as read from pg_authid, belongs to `password`: a role need not be altered then. */
export function verifierMatches(verifier: string, password: string): boolean {
  const match = /^SCRAM-SHA-256\$(\d{1,7}):([A-Za-z0-9+/=]+)\$[A-Za-z0-9+/=]+:[A-Za-z0-9+/=]+$/.exec(verifier)
  if (match?.[1] === undefined || match[2] === undefined) return false
  const iterations = Number(match[1])
  if (iterations < 1 || iterations > MAX_ITERATIONS) return false
  const own = Buffer.from(scramVerifier({ password, salt: Buffer.from(match[2], 'base64'), iterations }))
  const other = Buffer.from(verifier)
  return own.length === other.length && timingSafeEqual(own, other)
}

interface ScramKeys {
  readonly clientKey: Buffer
  readonly storedKey: Buffer
  readonly serverKey: Buffer
}

function saltPassword(password: string, salt: Buffer, iterations: number): Buffer {
  return pbkdf2Sync(saslPrep(password), salt, iterations, 32, 'sha256')
}

function deriveKeys(saltedPassword: Buffer): ScramKeys {
  const clientKey = hmac(saltedPassword, 'Client Key')
  return {
    clientKey,
    storedKey: storedKeyOf(clientKey),
    serverKey: hmac(saltedPassword, 'Server Key'),
  }
}

export function storedKeyOf(clientKey: Buffer): Buffer {
  return createHash('sha256').update(clientKey).digest()
}

export function hmac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text, 'utf8').digest()
}

export function xor(a: Buffer, b: Buffer): Buffer {
  return Buffer.from(a.map((byte, i) => byte ^ (b[i] ?? 0)))
}

export function parseAttributes(message: string): ReadonlyMap<string, string> {
  const attributes = new Map<string, string>()
  for (const part of message.split(',')) {
    if (part[1] !== '=') throw new ProtocolViolation('a SCRAM message is malformed')
    attributes.set(part.slice(0, 1), part.slice(2))
  }
  return attributes
}
