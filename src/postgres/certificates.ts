/**
 * TLS between the nodes: a certificate authority of the cluster's own and one certificate per node, made with the openssl command.
 * verify-full everywhere then means that a node speaks only with nodes of this cluster, under the name that it meant to reach.
 */
import { randomBytes } from 'node:crypto'
import { chmod, mkdir, mkdtemp, open, rename, rm, writeFile } from 'node:fs/promises'
import { isIP } from 'node:net'
import { dirname, join, resolve } from 'node:path'
import type { Outcome } from '../ports/postgres.ts'
import { certificateState, readPem } from './certificate-state.ts'
import { lastLines, runCommand } from './command.ts'
import { fsyncDirectory } from './durable.ts'
import { DONE, failed, fileFailure, ok } from './outcome.ts'

const DAY_MS = 86_400_000
/** The authority lives as long as clusters do; its key never leaves the machine that made it. */
export const AUTHORITY_DAYS = 3650
/**
 * Two years: short enough that a lost key ends by itself, long enough that a cluster that nobody restarts does not meet it in its
 * first year. `certificateState` says "expiring" two months before, and re-issuing is one call.
 */
export const NODE_DAYS = 730
/** Clocks of two machines differ: a certificate that begins this second would be refused by the one that is behind. */
const BACKDATED_MS = DAY_MS
const OPENSSL_DEADLINE_MS = 30_000

export interface KeyPairPaths {
  readonly certificate: string
  readonly key: string
}

export interface IssueOptions {
  readonly authority: KeyPairPaths
  readonly target: KeyPairPaths
  /** The node's name; stands in the subject. */
  readonly node: string
  /** Host names and addresses under which others reach the node; localhost, 127.0.0.1 and ::1 are added. */
  readonly hosts: readonly string[]
  /** For tests of what time does; now otherwise. */
  readonly notBefore?: Date
  readonly notAfter?: Date
}

/** Makes the authority unless it is there. Its certificate is what every node trusts; only this key can issue more. */
export async function ensureAuthority(authority: KeyPairPaths, cluster: string): Promise<Outcome> {
  const [certificate, key] = [await readPem(authority.certificate), await readPem(authority.key)]
  if (certificate.kind === 'failed') return certificate
  if (key.kind === 'failed') return key
  if (certificate.value !== null && key.value !== null) return DONE
  if (certificate.value !== null) {
    return failed('tls-failed', `the key ${authority.key} of this cluster’s authority is missing`)
  }
  const now = Date.now()
  return issue({
    target: authority,
    authority: null,
    commonName: authorityName(cluster),
    extensions: AUTHORITY_EXTENSIONS,
    notBefore: new Date(now - BACKDATED_MS),
    notAfter: new Date(now + AUTHORITY_DAYS * DAY_MS),
  })
}

/** Issues a certificate for one node, replacing what is there: key first, so that an interruption is seen as a mismatch and mended. */
export async function issueCertificate(options: IssueOptions): Promise<Outcome> {
  const wrong = options.hosts.find((name) => !/^[A-Za-z0-9._:*-]+$/.test(name))
  if (wrong !== undefined)
    return failed('config-invalid', `${JSON.stringify(wrong)} is no host name or address`)
  const now = Date.now()
  return issue({
    target: options.target,
    authority: options.authority,
    commonName: commonName(options.node),
    extensions: nodeExtensions(options.hosts),
    notBefore: options.notBefore ?? new Date(now - BACKDATED_MS),
    notAfter: options.notAfter ?? new Date(now + NODE_DAYS * DAY_MS),
  })
}

export function authorityName(cluster: string): string {
  return commonName(`pg-understudy ${cluster} authority`)
}

export const AUTHORITY_EXTENSIONS: readonly string[] = [
  'basicConstraints=critical,CA:TRUE,pathlen:0',
  'keyUsage=critical,keyCertSign,cRLSign',
]

/** `hosts`: names and addresses under which others reach the node. */
export function nodeExtensions(hosts: readonly string[]): readonly string[] {
  const names = [...new Set([...hosts, 'localhost', '127.0.0.1', '::1'])]
  return [
    'basicConstraints=critical,CA:FALSE',
    'keyUsage=critical,digitalSignature',
    // Both: a node is the server of its clients and the client of its upstream.
    'extendedKeyUsage=serverAuth,clientAuth',
    `subjectAltName=${names.map((name) => (isIP(name) === 0 ? `DNS:${name}` : `IP:${name}`)).join(',')}`,
  ]
}

/** Issues only when `certificateState` is not valid. True when it did. */
export async function ensureCertificate(
  options: IssueOptions,
): Promise<Outcome<{ readonly issued: boolean }>> {
  const state = await certificateState(options.target.certificate, {
    hosts: options.hosts,
    key: options.target.key,
    authority: options.authority.certificate,
  })
  if (state.kind === 'failed') return state
  if (state.value.kind === 'valid') return ok({ issued: false })
  const issued = await issueCertificate(options)
  return issued.kind === 'ok' ? ok({ issued: true }) : issued
}

interface Order {
  readonly target: KeyPairPaths
  /** Null: the certificate signs itself. */
  readonly authority: KeyPairPaths | null
  readonly commonName: string
  readonly extensions: readonly string[]
  readonly notBefore: Date
  readonly notAfter: Date
}

/**
 * `openssl ca` and not `openssl x509 -req`: only it takes a beginning in the past, in every version from 1.1.1 on. Everything
 * happens in a 0700 directory beside the target, so that a key is never readable under any name.
 */
async function issue(order: Order): Promise<Outcome> {
  const parent = dirname(order.target.certificate)
  let work: string | null = null
  try {
    await mkdir(parent, { recursive: true, mode: 0o700 })
    work = await mkdtemp(join(parent, '.issue-'))
    await writeFile(join(work, 'index.txt'), '')
    // Random, so that an authority without any memory never gives a number twice (RFC 5280: positive, at most 20 bytes).
    await writeFile(join(work, 'serial'), `01${randomBytes(15).toString('hex')}\n`)
    await writeFile(join(work, 'openssl.cnf'), opensslConfiguration(work, order))
    const requested = await openssl(work, requestArguments(order))
    if (requested.kind === 'failed') return requested
    const signed = await openssl(work, signArguments(order))
    if (signed.kind === 'failed') return signed
    await install(join(work, 'key.pem'), order.target.key)
    await install(join(work, 'certificate.pem'), order.target.certificate)
    return DONE
  } catch (error) {
    return fileFailure(error, parent)
  } finally {
    if (work !== null) await rm(work, { recursive: true, force: true })
  }
}

async function install(from: string, to: string): Promise<void> {
  await chmod(from, 0o600)
  const handle = await open(from, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
  await rename(from, to)
  await fsyncDirectory(dirname(to))
}

/** A key of its own, on the curve that every OpenSSL has. */
export const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'] as const

function requestArguments(order: Order): readonly string[] {
  return [
    ...['req', '-new', '-config', 'openssl.cnf', '-sha256', '-subj', `/CN=${order.commonName}`],
    ...NEW_KEY,
    ...['-keyout', 'key.pem', '-out', 'request.pem'],
  ]
}

function signArguments(order: Order): readonly string[] {
  const { authority } = order
  return [
    ...['ca', '-batch', '-notext', '-config', 'openssl.cnf', '-extensions', 'extensions'],
    ...(authority === null
      ? ['-selfsign', '-keyfile', 'key.pem']
      : ['-cert', resolve(authority.certificate), '-keyfile', resolve(authority.key)]),
    ...['-startdate', asn1Time(order.notBefore), '-enddate', asn1Time(order.notAfter)],
    ...['-in', 'request.pem', '-out', 'certificate.pem'],
  ]
}

function opensslConfiguration(work: string, order: Order): string {
  return `[ca]
default_ca = authority
[authority]
database = ${work}/index.txt
serial = ${work}/serial
new_certs_dir = ${work}
default_md = sha256
policy = policy
unique_subject = no
[policy]
commonName = supplied
[req]
distinguished_name = name
[name]
[extensions]
subjectKeyIdentifier = hash
${order.authority === null ? '' : 'authorityKeyIdentifier = keyid:always\n'}${order.extensions.join('\n')}
`
}

/** "20261122233000Z" (RFC 5280, GeneralizedTime). */
function asn1Time(date: Date): string {
  return `${date
    .toISOString()
    .replace(/\.\d+Z$/, '')
    .replace(/[-:T]/g, '')}Z`
}

/** X.509 allows 64 characters here; names are found through subjectAltName, so nothing depends on it. */
function commonName(text: string): string {
  return text.replace(/[^A-Za-z0-9 ._-]/g, '_').slice(0, 64)
}

async function openssl(work: string, args: readonly string[]): Promise<Outcome> {
  const result = await runCommand('openssl', args, {
    env: { PATH: process.env['PATH'] ?? '/usr/bin:/bin', HOME: work },
    cwd: work,
    deadlineMs: OPENSSL_DEADLINE_MS,
  })
  if (result.kind === 'notFound') return failed('no-openssl', 'the command openssl was not found on PATH')
  if (result.kind === 'exited' && result.exitCode === 0) return DONE
  const words = result.kind === 'notPermitted' ? 'it may not be run' : lastLines(result.stderr, 3)
  return failed('tls-failed', `openssl ${args[0] ?? ''} failed: ${words}`)
}
