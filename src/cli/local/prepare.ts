/**
 * Makes or reopens the directory of a local cluster: settings, understudy.yaml, secrets, certificates. Every step can be repeated,
 * so that a `kill -9` between any two leaves something that the next `up` completes; `local.json` is written last, and until it
 * exists there is no cluster.
 */

import { createHash } from 'node:crypto'
import { mkdir, open, readdir, rename, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { parseDuration } from '../../config/fields.ts'
import { UnderstudyError } from '../../errors/codes.ts'
import type { Outcome } from '../../ports/postgres.ts'
import { findBinaries } from '../../postgres/binaries.ts'
import { ensureAuthority, ensureCertificate } from '../../postgres/certificates.ts'
import { MAX_SOCKET_PATH_BYTES, socketPath } from '../../postgres/layout.ts'
import { ensureSecret } from '../../postgres/secrets.ts'
import { LOCAL_SECRET_NAMES } from '../secret-names.ts'
import { NODE_NAMES, portsFrom } from './layout.ts'
import { waitForLock } from './lock.ts'
import {
  CONFIG_NAME,
  type LocalSettings,
  type OpenCluster,
  openCluster,
  readSettings,
  SETTINGS_NAME,
} from './open.ts'
import { refuseTakenPortsOf } from './ports.ts'

export interface UpFlags {
  readonly nodes?: number | undefined
  readonly pg?: string | undefined
  readonly portBase?: number | undefined
  readonly durability?: 'quorum' | 'async' | undefined
  readonly rto?: string | undefined
}

export interface Prepared {
  readonly cluster: OpenCluster
  readonly created: boolean
  /** Nodes that got a new certificate: one of them that runs still shows the old one until it is reloaded. */
  readonly renewed: readonly string[]
}

const HOST = '127.0.0.1'
/** Of its certificate. */
const PROXY_NAME = 'proxy'

/** Errors: flags-differ, foreign-data, no-binaries, unsupported-version, port-taken, no-permission, no-space, no-openssl. */
export async function prepareCluster(directory: string, flags: UpFlags): Promise<Prepared> {
  await makeDirectory(directory)
  const lock = await waitForLock(directory, 'prepare')
  try {
    return await prepareAlone(directory, flags)
  } finally {
    await lock.release()
  }
}

async function prepareAlone(directory: string, flags: UpFlags): Promise<Prepared> {
  const known = await readSettings(directory)
  if (known === null) await refuseForeign(directory)
  else refuseOtherFlags(known, flags)
  const settings = known ?? (await newSettings(flags, binariesCache(directory)))
  // Before anything remembers the ports: the way out is another --port-base, which must not be refused as another flag then.
  if (known === null) await refuseTakenPortsOf(settings, HOST)
  const renewed = await makeFiles(directory, settings)
  if (known === null)
    await writeDurably(path.join(directory, SETTINGS_NAME), `${JSON.stringify(settings, null, 2)}\n`)
  return { cluster: await openCluster({ data: directory }), created: known === null, renewed }
}

/** Where embedded binaries are kept when node_modules cannot be used in place. */
export function binariesCache(directory: string): string {
  return path.join(directory, 'binaries')
}

/** Nothing is written, but for binaries that cannot be used where they lie. Errors: no-binaries, unsupported-version, usage. */
export async function newSettings(flags: UpFlags, cacheDir: string): Promise<LocalSettings> {
  const binaries = demand(await findBinaries({ request: flags.pg, cacheDir }))
  const rto = flags.rto ?? '3s'
  const rtoMs = parseDuration(rto)
  if (rtoMs === null || rtoMs < 500 || rtoMs > 600_000)
    throw new UnderstudyError('usage', `--rto ${rto} is not between 500ms and 10m`)
  return {
    version: 1,
    nodes: flags.nodes ?? 3,
    portBase: flags.portBase ?? 5500,
    pg: flags.pg ?? null,
    // The embedded ones are found again by version: their place changes with the installation.
    binaries: binaries.kind === 'embedded' ? String(binaries.major) : binaries.binDir,
    major: binaries.major,
    durability: flags.durability ?? 'quorum',
    rto,
    runAs: null,
    createdAt: new Date().toISOString(),
  }
}

/** Errors: flags-differ. */
export function refuseOtherFlags(known: LocalSettings, flags: UpFlags): void {
  const asked: readonly (readonly [string, unknown, unknown])[] = [
    ['--nodes', flags.nodes, known.nodes],
    ['--port-base', flags.portBase, known.portBase],
    ['--durability', flags.durability, known.durability],
    ['--rto', flags.rto, known.rto],
    ['--pg', flags.pg, flags.pg === String(known.major) || flags.pg === known.binaries ? flags.pg : known.pg],
  ]
  const different = asked.find(([, now, before]) => now !== undefined && now !== before)
  if (different === undefined) return
  const [flag, now, before] = different
  throw new UnderstudyError(
    'flags-differ',
    `the cluster was made with ${flag} ${before ?? 'left out'}, not ${now}`,
  )
}

/** A directory with other things in it stays as it is. */
async function refuseForeign(directory: string): Promise<void> {
  const ours = new Set([
    CONFIG_NAME,
    SETTINGS_NAME,
    `${SETTINGS_NAME}.new`,
    'secrets',
    'tls',
    'nodes',
    'logs',
    'store',
    'binaries',
  ])
  const others = (await readdir(directory)).filter((entry) => !ours.has(entry))
  if (others.length === 0) return
  throw new UnderstudyError(
    'foreign-data',
    `${directory} holds something else (${others.slice(0, 3).join(', ')}) and no cluster`,
  )
}

/** Returns the nodes whose certificates were issued. */
async function makeFiles(directory: string, settings: LocalSettings): Promise<readonly string[]> {
  const names = NODE_NAMES.slice(0, settings.nodes)
  for (const each of [
    'secrets',
    'tls',
    'logs',
    'store',
    ...names.flatMap((name) => [`nodes/${name}/log`, `nodes/${name}/run`]),
  ]) {
    await makeDirectory(path.join(directory, each))
  }
  for (const secret of LOCAL_SECRET_NAMES) {
    demand(await ensureSecret(path.join(directory, 'secrets', secret)))
  }
  const renewed = await makeCertificates(directory, names)
  const configFile = path.join(directory, CONFIG_NAME)
  if (!(await exists(configFile))) await writeDurably(configFile, renderConfig(directory, settings))
  for (const name of names) await makeDirectory(socketDirectory(directory, name, settings))
  return renewed
}

/** Re-issues what has expired or will soon: a cluster that slept in a drawer for two years starts again. */
async function makeCertificates(directory: string, names: readonly string[]): Promise<readonly string[]> {
  const tls = path.join(directory, 'tls')
  const authority = { certificate: path.join(tls, 'ca.crt'), key: path.join(tls, 'ca.key') }
  demand(await ensureAuthority(authority, 'main'))
  const issued = await Promise.all(
    [...names, PROXY_NAME].map((node) =>
      ensureCertificate({
        authority,
        node,
        hosts: node === PROXY_NAME ? [HOST, 'localhost'] : [HOST, node],
        target: { certificate: path.join(tls, `${node}.crt`), key: path.join(tls, `${node}.key`) },
      }),
    ),
  )
  return names.filter((_, index) => {
    const outcome = issued[index]
    return outcome !== undefined && demand(outcome).issued
  })
}

/** run/ beside the data when the path is short enough, else a directory in the system's temporary one that only we can enter. */
function socketDirectory(directory: string, node: string, settings: LocalSettings): string {
  const index = NODE_NAMES.indexOf(node)
  const beside = path.join(directory, 'nodes', node, 'run')
  const longest = `${socketPath(beside, portsFrom(settings.portBase).postgres(index))}.lock`
  if (Buffer.byteLength(longest) <= MAX_SOCKET_PATH_BYTES) return beside
  const digest = createHash('sha256').update(beside).digest('hex').slice(0, 16)
  return path.join(tmpdir(), `understudy-${process.getuid?.() ?? 0}-${digest}`)
}

/** understudy.yaml of a local cluster in this directory. */
export function renderConfig(directory: string, settings: LocalSettings): string {
  const ports = portsFrom(settings.portBase)
  const nodes = NODE_NAMES.slice(0, settings.nodes).map((name, index) => {
    const sockets = socketDirectory(directory, name, settings)
    const beside = sockets === path.join(directory, 'nodes', name, 'run')
    const line = beside ? '' : `, socketDirectory: ${JSON.stringify(sockets)}`
    return `  ${name}: { host: ${HOST}, port: ${ports.postgres(index)}, apiPort: ${ports.agent(index)}, directory: nodes/${name}${line} }`
  })
  return `# The local cluster that \`understudy up\` made. Change it while the cluster is down.
cluster: main

# quorum: a commit is acknowledged when enough standbys have it on disk. async: at once.
durability: ${settings.durability}
# How soon the primary's silence counts as death; every other timer follows from it.
rto: ${settings.rto}

store:
  endpoints: [http://${HOST}:${ports.store}]
  tokenFile: secrets/store-token

postgres:
  binaries: ${JSON.stringify(settings.binaries)}
  # Your own parameters; those that would break replication are refused with the reason.
  parameters: {}
  # Further lines of pg_hba.conf; they come after understudy's own.
  hba: []

application: { database: app, user: app }

# One address: auto reads from standbys what they have and does everything else at the primary, readWrite is always the primary.
proxy: { host: ${HOST}, ports: { auto: ${ports.proxy.auto}, readWrite: ${ports.proxy.readWrite}, readOnly: ${ports.proxy.readOnly} } }

nodes:
${nodes.join('\n')}
`
}

export async function makeDirectory(directory: string): Promise<void> {
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 })
  } catch (error) {
    throw fileError(error, directory)
  }
}

async function writeDurably(file: string, text: string): Promise<void> {
  try {
    await writeFile(`${file}.new`, text, { mode: 0o600, flush: true })
    await rename(`${file}.new`, file)
    const parent = await open(path.dirname(file), 'r')
    await parent.sync()
    await parent.close()
  } catch (error) {
    throw fileError(error, file)
  }
}

async function exists(file: string): Promise<boolean> {
  return (await readdir(path.dirname(file))).includes(path.basename(file))
}

export function fileError(error: unknown, where: string): unknown {
  const code = (error as NodeJS.ErrnoException).code
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS')
    return new UnderstudyError('no-permission', `cannot write in ${where}`)
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new UnderstudyError('no-space', `no space left for ${where}`)
  if (code === 'ENOTDIR' || code === 'EEXIST')
    return new UnderstudyError('foreign-data', `${where} is not a directory`)
  return error
}

/** At the outermost shell a failed outcome becomes an exception, which the command prints. */
export function demand<T>(outcome: Outcome<T>): T {
  if (outcome.kind === 'ok') return outcome.value
  throw new UnderstudyError(
    outcome.code,
    outcome.reason,
    outcome.hint === undefined ? {} : { hint: outcome.hint },
  )
}
