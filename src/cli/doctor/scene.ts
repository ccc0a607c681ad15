/** What a start would work with on this machine: the cluster if there is one already, else the one that the flags describe. */
import { readdir, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { nodeOf, type ResolvedNode } from '../../config/load.ts'
import { toUnderstudyError, type UnderstudyError } from '../../errors/codes.ts'
import { chooseRunAs, type SystemUser } from '../../postgres/run-as.ts'
import type { ClusterFlags } from '../flags.ts'
import { NODE_NAMES, portsFrom } from '../local/layout.ts'
import { namedDirectory, type OpenCluster, openCluster, realDirectory } from '../local/open.ts'
import { readBundleMark } from '../machines/placement.ts'

export interface SceneFlags extends ClusterFlags {
  readonly pg?: string
  readonly portBase?: number
  readonly nodes?: number
  /** Of a cluster on several machines. */
  readonly node?: string
}

export interface NeededPort {
  readonly host: string
  readonly port: number
  /** "PostgreSQL of alpha". */
  readonly use: string
}

export interface NodeScene {
  readonly name: string
  readonly port: number
  readonly socketDirectory: string
}

export interface Scene {
  /** As the person named it. */
  readonly named: string
  /** Where the data really is or would be. */
  readonly directory: string
  readonly cluster: OpenCluster | null
  /** The node of this machine; null: a local cluster, or the operator's directory. */
  readonly self: ResolvedNode | null
  /** Why a cluster that is there cannot be opened. */
  readonly broken: UnderstudyError | null
  readonly binariesRequest: string | undefined
  readonly ports: readonly NeededPort[]
  readonly nodes: readonly NodeScene[]
  readonly isRoot: boolean
  /** Who runs PostgreSQL when this is root; null: the user of this process, or, as root, nobody fit was found. */
  readonly runAs: SystemUser | null
}

const HOST = '127.0.0.1'
const DEFAULT_PORT_BASE = 5500
const DEFAULT_NODES = 3
const PACKAGE_ROOT = fileURLToPath(new URL('../../../..', import.meta.url))

export async function buildScene(flags: SceneFlags): Promise<Scene> {
  const { cluster, broken } = await tryOpen(flags)
  const named = flags.config === undefined ? namedDirectory(flags) : path.dirname(path.resolve(flags.config))
  const self = await selfOf(cluster, flags.node)
  const directory = self?.directory ?? cluster?.directory ?? (await realDirectory(named).catch(() => named))
  const isRoot = process.getuid?.() === 0
  const chosen = await chooseRunAs({ checkout: PACKAGE_ROOT })
  return {
    named,
    directory,
    cluster,
    self,
    broken,
    binariesRequest: flags.pg ?? cluster?.config.postgres.binaries ?? undefined,
    ...(cluster === null || flags.portBase !== undefined
      ? plannedCluster(directory, flags, process.getuid?.() ?? 0)
      : knownCluster(cluster, self)),
    isRoot,
    runAs: chosen.kind === 'ok' ? chosen.value : null,
  }
}

async function tryOpen(
  flags: SceneFlags,
): Promise<{ readonly cluster: OpenCluster | null; readonly broken: UnderstudyError | null }> {
  try {
    return { cluster: await openCluster(flags), broken: null }
  } catch (thrown) {
    const error = toUnderstudyError(thrown)
    // No cluster yet is what a first start looks like; a configuration that was named must be there.
    const absent = error.code === 'not-found' && flags.config === undefined
    return { cluster: null, broken: absent ? null : error }
  }
}

/** Errors: unknown-node. */
async function selfOf(cluster: OpenCluster | null, named: string | undefined): Promise<ResolvedNode | null> {
  if (cluster === null || cluster.local !== null) return null
  const name = named ?? (await readBundleMark(cluster.config.file))?.node
  return name === undefined ? null : nodeOf(cluster.config, name)
}

function knownCluster(
  { config, local: upLocal }: OpenCluster,
  self: ResolvedNode | null,
): Pick<Scene, 'ports' | 'nodes'> {
  if (upLocal === null) return ownPlaces(self)
  const stores = config.store.endpoints.map((endpoint) => new URL(endpoint))
  const local = new Set([HOST, 'localhost', '::1'])
  return {
    nodes: config.nodes,
    ports: [
      ...config.nodes.flatMap(({ name, host, port, apiPort }) => [
        { host, port, use: `PostgreSQL of ${name}` },
        { host, port: apiPort, use: `agent of ${name}` },
      ]),
      ...stores.map(({ hostname, port }) => ({ host: hostname, port: Number(port), use: 'store' })),
    ].filter(({ host, port }) => local.has(host) && port > 0),
  }
}

/** Of several machines this one has one node, or none. */
function ownPlaces(self: ResolvedNode | null): Pick<Scene, 'ports' | 'nodes'> {
  if (self === null) return { nodes: [], ports: [] }
  const { name, port, apiPort, listen } = self
  return {
    nodes: [self],
    ports: listen.flatMap((address) => {
      const host = address === '*' ? '0.0.0.0' : address
      return [
        { host, port, use: `PostgreSQL of ${name}` },
        { host, port: apiPort, use: `agent of ${name}` },
      ]
    }),
  }
}

/** Pure: what `up` with these flags would use. */
export function plannedCluster(
  directory: string,
  flags: SceneFlags,
  uid: number,
): Pick<Scene, 'ports' | 'nodes'> {
  const ports = portsFrom(flags.portBase ?? DEFAULT_PORT_BASE)
  const names = NODE_NAMES.slice(0, flags.nodes ?? DEFAULT_NODES)
  return {
    nodes: names.map((name, index) => {
      const beside = path.join(directory, 'nodes', name, 'run')
      const port = ports.postgres(index)
      const fits = Buffer.byteLength(socketFile(beside, port)) <= MAX_SOCKET_PATH_BYTES
      // `up` then takes a directory with a name of this form in the system's temporary one.
      const short = path.join(tmpdir(), `understudy-${uid}-0123456789abcdef`)
      return { name, port, socketDirectory: fits ? beside : short }
    }),
    ports: [
      ...names.flatMap((name, index) => [
        { host: HOST, port: ports.postgres(index), use: `PostgreSQL of ${name}` },
        { host: HOST, port: ports.agent(index), use: `agent of ${name}` },
      ]),
      { host: HOST, port: ports.store, use: 'store' },
    ],
  }
}

/** unix(7): sun_path without its closing zero. */
export const MAX_SOCKET_PATH_BYTES = 107

/** PostgreSQL makes a lock file beside the socket, which is the longer of the two. */
export function socketFile(directory: string, port: number): string {
  return `${path.join(directory, `.s.PGSQL.${port}`)}.lock`
}

/** The directory itself or the nearest one above it that exists. */
export async function nearestExisting(directory: string): Promise<string> {
  for (let each = directory; ; each = path.dirname(each)) {
    const found = await stat(each).catch(() => null)
    if (found !== null || each === path.dirname(each)) return each
  }
}

export async function entriesOf(directory: string): Promise<readonly string[] | null> {
  return readdir(directory).catch(() => null)
}
