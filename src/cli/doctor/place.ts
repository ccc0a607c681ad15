/** Checks of the place where the data is or will be: who runs it, whether that user gets there, space, socket paths, certificates. */
import { access, constants, stat, statfs } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { ERRORS, type UnderstudyError } from '../../errors/codes.ts'
import { type CertificateState, certificateState } from '../../postgres/certificate-state.ts'
import { reachableBy } from '../../postgres/run-as.ts'
import { shellQuote } from '../board.ts'
import { humanBytes } from '../humanise.ts'
import { LOCATION_NAME, SETTINGS_NAME } from '../local/open.ts'
import { type Check, check, failing, fine, type Judgement, warning } from './check.ts'
import { entriesOf, MAX_SOCKET_PATH_BYTES, nearestExisting, type Scene, socketFile } from './scene.ts'

const MB = 1024 * 1024

export function judgeConfiguration(facts: {
  readonly broken: UnderstudyError | null
  readonly named: string
  readonly exists: boolean
}): Judgement {
  if (facts.broken !== null) return failing(facts.broken.message, facts.broken.hint)
  return fine(
    facts.exists ? `cluster in ${facts.named}` : `none yet in ${facts.named}: \`understudy up\` makes one`,
  )
}

export function judgeUser(facts: {
  readonly isRoot: boolean
  readonly userName: string
  readonly runAs: string | null
}): Judgement {
  if (!facts.isRoot) return fine(`PostgreSQL runs as ${facts.userName}`)
  if (facts.runAs !== null) return fine(`this is root: PostgreSQL runs as ${facts.runAs}`)
  return failing(
    'this is root, and there is no other user to run PostgreSQL as',
    ERRORS['no-unprivileged-user'].hint,
  )
}

export interface DirectoryFacts {
  readonly directory: string
  /** It, or the nearest directory above it that exists. */
  readonly existing: string
  readonly writable: boolean
  /** Whether the user that root becomes gets there; true when this is not root. */
  readonly reachable: boolean
  readonly runAs: string | null
  readonly owner: string | null
  /** null: the directory does not exist or cannot be read. */
  readonly entries: readonly string[] | null
}

async function probeDirectory(scene: Scene): Promise<DirectoryFacts> {
  const existing = await nearestExisting(scene.directory)
  const facts = await stat(existing).catch(() => null)
  return {
    directory: scene.directory,
    existing,
    writable: await access(existing, constants.W_OK | constants.X_OK).then(
      () => true,
      () => false,
    ),
    reachable: scene.runAs === null || (await reachableBy(scene.runAs, existing)),
    runAs: scene.runAs?.name ?? null,
    owner: facts === null ? null : String(facts.uid),
    entries: await entriesOf(scene.directory),
  }
}

export function judgeDirectory(facts: DirectoryFacts): Judgement {
  const { directory, existing } = facts
  const ours = [SETTINGS_NAME, LOCATION_NAME, 'understudy.yaml', 'secrets']
  const foreign = (facts.entries ?? []).length > 0 && !ours.some((name) => facts.entries?.includes(name))
  if (!facts.writable)
    return failing(
      `this user cannot write in ${existing} (it belongs to user ${facts.owner ?? 'unknown'})`,
      `Run: sudo chown "$USER" ${shellQuote(existing)} - or name another directory with --data.`,
    )
  if (foreign)
    return failing(
      `${directory} holds something else (${facts.entries?.slice(0, 3).join(', ')}) and no cluster`,
      ERRORS['foreign-data'].hint,
    )
  if (!facts.reachable)
    return fine(`${facts.runAs} cannot reach ${existing}: the data goes under /var/lib/understudy`)
  return fine(directory)
}

export function judgeSpace(facts: {
  readonly freeBytes: number | null
  readonly directory: string
}): Judgement {
  if (facts.freeBytes === null) return fine('not known on this file system')
  const said = `${humanBytes(facts.freeBytes)} free for ${facts.directory}`
  const hint = `Free some space, or name a directory elsewhere with --data (df -h ${shellQuote(facts.directory)}).`
  if (facts.freeBytes < 300 * MB) return failing(`${said}: three nodes need 300 MB to begin with`, hint)
  return facts.freeBytes < 2048 * MB ? warning(`${said} is little`, hint) : fine(said)
}

async function freeBytes(directory: string): Promise<number | null> {
  const facts = await statfs(directory).catch(() => null)
  return facts === null ? null : facts.bavail * facts.bsize
}

export function judgeSocketPaths(paths: readonly string[]): Judgement {
  const longest = [...paths].sort((a, b) => Buffer.byteLength(b) - Buffer.byteLength(a))[0] ?? ''
  const bytes = Buffer.byteLength(longest)
  if (bytes <= MAX_SOCKET_PATH_BYTES) return fine(`${bytes} of at most ${MAX_SOCKET_PATH_BYTES} bytes`)
  return failing(
    `${longest} has ${bytes} bytes, ${MAX_SOCKET_PATH_BYTES} are possible`,
    ERRORS['path-too-long'].hint,
  )
}

export interface CertificateFacts {
  readonly node: string
  /** What issues them anew. */
  readonly issuer?: 'up' | 'init'
  readonly state: CertificateState
}

async function probeCertificates(scene: Scene): Promise<readonly CertificateFacts[]> {
  const { cluster, self } = scene
  if (cluster === null) return []
  const issuer: CertificateFacts['issuer'] = cluster.local === null ? 'init' : 'up'
  // A bundle has the certificate of its own node.
  const nodes = self === null ? cluster.config.nodes : [self]
  const states = await Promise.all(
    nodes.map(async ({ name, host }) => {
      const { tls } = cluster.config
      const state = await certificateState(tls.certFile(name), { hosts: [host], authority: tls.caFile })
      return state.kind === 'ok'
        ? { node: name, issuer, state: state.value }
        : { node: name, issuer, state: { kind: 'mismatch' as const, reason: state.reason } }
    }),
  )
  return states
}

export function judgeCertificates(facts: readonly CertificateFacts[]): Judgement {
  const several = facts.some(({ issuer }) => issuer === 'init')
  const hint = several
    ? 'Run `understudy push` in the operator’s directory: it issues what is about to end, and brings it to the nodes.'
    : ERRORS['certificate-expired'].hint
  const words = facts.flatMap(({ node, state }) => {
    if (state.kind === 'absent' && several) return [`${node}: is missing`]
    if (state.kind === 'valid' || state.kind === 'absent') return []
    return [`${node}: ${certificateWords(state)}`]
  })
  if (words.length === 0) {
    const absent = facts.filter(({ state }) => state.kind === 'absent').length
    return fine(facts.length === 0 || absent > 0 ? '`understudy up` issues them' : `${facts.length} valid`)
  }
  const harmless = several ? ['valid', 'expiring'] : ['valid', 'absent', 'expiring']
  const expiringOnly = facts.every(({ state }) => harmless.includes(state.kind))
  return expiringOnly ? warning(words.join('; '), hint) : failing(words.join('; '), hint)
}

function certificateWords(state: CertificateState): string {
  if (state.kind === 'expiring') return `expires on ${state.notAfter.toISOString()}`
  if (state.kind === 'expired') return `expired on ${state.notAfter.toISOString()}`
  if (state.kind === 'notYetValid')
    return `begins only on ${state.notBefore.toISOString()}: is the clock right?`
  if (state.kind === 'wrongNames') return `is not for ${state.missing.join(', ')}`
  return state.kind === 'mismatch' ? state.reason : state.kind
}

export const PLACE_CHECKS: readonly Check[] = [
  check(
    'cluster',
    'cluster',
    ({ broken, named, cluster }) => ({ broken, named, exists: cluster !== null }),
    judgeConfiguration,
  ),
  check(
    'user',
    'user',
    ({ isRoot, runAs }) => ({ isRoot, userName: ownName(), runAs: runAs?.name ?? null }),
    judgeUser,
  ),
  check('directory', 'data directory', probeDirectory, judgeDirectory),
  check(
    'space',
    'free space',
    async ({ directory }) => ({ freeBytes: await freeBytes(await nearestExisting(directory)), directory }),
    judgeSpace,
  ),
  check(
    'socket-path',
    'socket paths',
    ({ nodes }) => nodes.map(({ socketDirectory, port }) => socketFile(socketDirectory, port)),
    judgeSocketPaths,
  ),
  check('certificates', 'certificates', probeCertificates, judgeCertificates),
]

/** A container may run under a number that has no name. */
function ownName(): string {
  try {
    return userInfo().username
  } catch {
    return `user ${process.getuid?.() ?? 'unknown'}`
  }
}
