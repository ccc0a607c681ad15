/** Looks at a node's certificate as its peers will: dates, names, key and authority. */
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { isIP } from 'node:net'
import type { Outcome } from '../ports/postgres.ts'
import { failed, fileFailure, ok, systemErrorCode } from './outcome.ts'

const DAY_MS = 86_400_000
/** Renewal begins this long before the end: two months of runs of the command, and of warnings. */
const RENEW_DAYS = 60

export type CertificateState =
  | { readonly kind: 'valid'; readonly notAfter: Date }
  /** Still good, but to be renewed. */
  | { readonly kind: 'expiring'; readonly notAfter: Date }
  | { readonly kind: 'expired'; readonly notAfter: Date }
  /** The clock of this machine is before the certificate's beginning: the clock is wrong rather than the certificate. */
  | { readonly kind: 'notYetValid'; readonly notBefore: Date }
  | { readonly kind: 'wrongNames'; readonly missing: readonly string[] }
  /** The key does not belong to it, or another authority issued it. */
  | { readonly kind: 'mismatch'; readonly reason: string }
  | { readonly kind: 'absent' }

export interface StateOptions {
  readonly hosts?: readonly string[]
  readonly key?: string
  readonly authority?: string
  /** For tests; the clock otherwise. */
  readonly nowMs?: number
}

/** Looks at a certificate as a peer with verify-full would. Fails only when files cannot be read or are no PEM. */
export async function certificateState(
  path: string,
  options: StateOptions = {},
): Promise<Outcome<CertificateState>> {
  const pem = await readPem(path)
  if (pem.kind === 'failed') return pem
  if (pem.value === null) return ok({ kind: 'absent' })
  const certificate = parseCertificate(pem.value)
  if (certificate === null) return failed('tls-failed', `${path} is not a certificate in PEM form`)
  const mismatch = await findMismatch(certificate, options)
  if (mismatch !== null) return ok({ kind: 'mismatch', reason: mismatch })
  const missing = (options.hosts ?? []).filter((host) => !covers(certificate, host))
  if (missing.length > 0) return ok({ kind: 'wrongNames', missing })
  const now = options.nowMs ?? Date.now()
  const [notBefore, notAfter] = [new Date(certificate.validFrom), new Date(certificate.validTo)]
  if (now < notBefore.getTime()) return ok({ kind: 'notYetValid', notBefore })
  if (now >= notAfter.getTime()) return ok({ kind: 'expired', notAfter })
  return ok({ kind: now >= notAfter.getTime() - RENEW_DAYS * DAY_MS ? 'expiring' : 'valid', notAfter })
}

function covers(certificate: X509Certificate, host: string): boolean {
  return (isIP(host) === 0 ? certificate.checkHost(host) : certificate.checkIP(host)) !== undefined
}

async function findMismatch(certificate: X509Certificate, options: StateOptions): Promise<string | null> {
  if (options.key !== undefined) {
    const key = await readPem(options.key)
    if (key.kind === 'failed' || key.value === null) return `its key ${options.key} is missing`
    if (!keyBelongs(certificate, key.value)) return `the key ${options.key} does not belong to it`
  }
  if (options.authority !== undefined) {
    const pem = await readPem(options.authority)
    const authority = pem.kind === 'ok' && pem.value !== null ? parseCertificate(pem.value) : null
    if (authority === null || !certificate.verify(authority.publicKey)) {
      return `it was not issued by the authority ${options.authority}`
    }
  }
  return null
}

function keyBelongs(certificate: X509Certificate, pem: string): boolean {
  try {
    return certificate.checkPrivateKey(createPrivateKey(pem))
  } catch {
    return false
  }
}

function parseCertificate(pem: string): X509Certificate | null {
  try {
    return new X509Certificate(pem)
  } catch {
    return null
  }
}

/** null: no such file. */
export async function readPem(path: string): Promise<Outcome<string | null>> {
  try {
    return ok(await readFile(path, 'utf8'))
  } catch (error) {
    return systemErrorCode(error) === 'ENOENT' ? ok(null) : fileFailure(error, path)
  }
}
