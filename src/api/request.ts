/** A request to an agent: HTTP on one machine, and TLS with the cluster's own authority between machines. */
import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import * as http from 'node:http'
import * as https from 'node:https'
import { createSecureContext, type SecureContext } from 'node:tls'

export interface AgentRequestOptions extends http.RequestOptions {
  /** The authority that signed the agents' certificates; null or left out: the agent speaks HTTP without TLS. */
  readonly caFile?: string | null | undefined
  /** Only whether somebody answers is asked: nothing is told, and what is answered is not believed. */
  readonly unverified?: boolean
}

/** Throws when the authority's file cannot be read. */
export function request(
  { caFile, unverified, ...options }: AgentRequestOptions,
  onResponse?: (response: http.IncomingMessage) => void,
): http.ClientRequest {
  if (caFile === null || caFile === undefined) return http.request(options, onResponse)
  if (unverified === true) return https.request({ ...options, rejectUnauthorized: false }, onResponse)
  const secure: https.RequestOptions & { readonly secureContext: SecureContext } = {
    ...options,
    secureContext: trustIn(caFile),
  }
  return https.request(secure, onResponse)
}

interface Trust {
  readonly pem: string
  readonly context: SecureContext
  readAtMs: number
}

const trusted = new Map<string, Trust>()
/** A new authority is taken over while the process runs; the file is read beside the requests, not before one. */
const REREAD_AFTER_MS = 5_000

/** Throws when the file cannot be read the first time, or is no certificate. */
function trustIn(file: string): SecureContext {
  const known = trusted.get(file)
  if (known === undefined) return trust(file, readFileSync(file, 'utf8')).context
  if (performance.now() - known.readAtMs > REREAD_AFTER_MS) {
    known.readAtMs = performance.now()
    readFile(file, 'utf8').then(
      (pem) => {
        if (pem !== known.pem) trust(file, pem)
      },
      () => {},
    )
  }
  return known.context
}

function trust(file: string, pem: string): Trust {
  const made = {
    pem,
    context: createSecureContext({ ca: pem, minVersion: 'TLSv1.2' }),
    readAtMs: performance.now(),
  }
  trusted.set(file, made)
  return made
}

const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there',
  EHOSTUNREACH: 'no way leads there',
  ENETUNREACH: 'no way leads there',
  ENOTFOUND: 'there is no such host',
  EAI_AGAIN: 'the name could not be looked up',
  EPROTO: 'it does not speak TLS',
  HPE_INVALID_CONSTANT: 'it does not speak HTTP',
  CERT_HAS_EXPIRED: 'its certificate has expired',
  CERT_NOT_YET_VALID: 'its certificate is not valid yet: one of the clocks is wrong',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is for another host',
  SELF_SIGNED_CERT_IN_CHAIN: 'its certificate is of another authority',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is of another authority',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its certificate is of another authority',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'its certificate is of another authority',
}

/** Why a request failed, in words. */
export function failureOf(error: unknown): string {
  const code = (error as NodeJS.ErrnoException | undefined)?.code
  const known = code === undefined ? undefined : REASONS[code]
  return known ?? code ?? (error instanceof Error ? error.message : String(error))
}
