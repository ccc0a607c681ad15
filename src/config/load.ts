/**
 * Reads understudy.yaml: where a line is wrong its number is said, a misspelt key gets the nearest one suggested, and relative
 * paths are resolved against the file's directory, so that the agent never depends on where it was started.
 */
import { readFile } from 'node:fs/promises'
import { isIP } from 'node:net'
import path from 'node:path'
import { UnderstudyError } from '../errors/codes.ts'
import { isLoopback } from './fields.ts'
import { readConfigText } from './findings.ts'
import { nearest } from './nearest.ts'
import type { ClusterConfig } from './schema.ts'
import type { ProxyConfig } from './sections/proxy.ts'

export interface ResolvedNode {
  readonly name: string
  readonly host: string
  readonly port: number
  readonly apiPort: number
  /** Who signed the certificate that the agent's API shows; null: it speaks HTTP without TLS. */
  readonly apiCaFile: string | null
  /** Addresses of the node's machine, or '*'. */
  readonly listen: readonly string[]
  /** `host` is a name and `listen` was left out: then the name must mean the node's own machine. */
  readonly nameIsLocal: boolean
  /** Addresses and networks from which its connections come, beside `host`. */
  readonly sourceAddresses: readonly string[]
  /** Absolute. */
  readonly directory: string
  readonly socketDirectory: string
  readonly candidatePriority: number
}

export interface ResolvedConfig {
  readonly file: string
  readonly cluster: string
  readonly durability: 'quorum' | 'async'
  readonly rtoMs: number
  readonly whenStandbyLost: 'relax' | 'block'
  readonly store: {
    readonly endpoints: readonly string[]
    readonly tokenFile: string | null
    readonly username: string | null
    readonly passwordFile: string | null
    readonly caFile: string | null
    readonly certFile: string | null
    readonly keyFile: string | null
  }
  readonly postgres: {
    readonly binaries: string | null
    readonly parameters: Readonly<Record<string, string | number | boolean>>
    readonly hba: readonly string[]
    /** own: the lines of `hba` alone let clients in. */
    readonly clientAccess: 'standard' | 'own'
    /** Lines of pg_ident.conf. */
    readonly ident: readonly string[]
    readonly superuser: string
  }
  readonly application: {
    readonly database: string
    readonly user: string
    /** Whether its password is understudy's. */
    readonly managed: boolean
  }
  /** null: this cluster has no proxy. Durations in milliseconds. */
  readonly proxy: ProxyConfig | null
  readonly secrets: {
    readonly directory: string
    readonly superuserPassword: string
    readonly replicationPassword: string
    readonly agentPassword: string
    readonly proxyPassword: string
    readonly applicationPassword: string
    readonly apiToken: string
  }
  readonly tls: {
    readonly caFile: string
    certFile(node: string): string
    keyFile(node: string): string
  }
  readonly nodes: readonly ResolvedNode[]
}

export async function loadConfig(file: string): Promise<ResolvedConfig> {
  const absolute = path.resolve(file)
  let text: string
  try {
    text = await readFile(absolute, 'utf8')
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code === 'ENOENT')
      throw new UnderstudyError('not-found', `there is no configuration file ${absolute}`)
    if (code === 'EACCES') throw new UnderstudyError('no-permission', `cannot read ${absolute}`)
    throw error
  }
  return resolveConfig(parseConfig(text, absolute), absolute)
}

/** Errors: config-invalid with file, line and, for an unknown key, the nearest known one. Warnings are for `config validate`. */
export function parseConfig(text: string, file: string): ClusterConfig {
  const { config, findings } = readConfigText(text)
  if (config !== null) return config
  const [first, ...more] = findings.filter(({ severity }) => severity === 'error')
  const others = more.length === 0 ? '' : ` (and ${more.length} more: understudy config validate)`
  const what = first === undefined ? 'invalid' : `${first.key === '' ? '' : `${first.key}: `}${first.message}`
  throw new UnderstudyError('config-invalid', `${file}:${first?.line ?? 1}: ${what}${others}`)
}

/** With every path absolute. Pure. */
export function resolveConfig(config: ClusterConfig, file: string): ResolvedConfig {
  const base = path.dirname(file)
  const at = (relative: string): string => path.resolve(base, relative)
  const maybe = (relative: string | undefined): string | null =>
    relative === undefined ? null : at(relative)
  const secrets = at(config.secretsDirectory)
  const tls = at(config.tlsDirectory)
  return {
    file,
    cluster: config.cluster,
    durability: config.durability,
    rtoMs: config.rto,
    whenStandbyLost: config.whenStandbyLost,
    store: {
      endpoints: config.store.endpoints,
      tokenFile: maybe(config.store.tokenFile),
      username: config.store.username ?? null,
      passwordFile: maybe(config.store.passwordFile),
      caFile: maybe(config.store.caFile),
      certFile: maybe(config.store.certFile),
      keyFile: maybe(config.store.keyFile),
    },
    postgres: {
      binaries: config.postgres.binaries ?? null,
      parameters: config.postgres.parameters,
      hba: config.postgres.hba,
      clientAccess: config.postgres.clientAccess,
      ident: config.postgres.ident,
      superuser: config.postgres.superuser,
    },
    application: config.application,
    proxy: Object.values(config.proxy.ports).every((each) => each === undefined) ? null : config.proxy,
    secrets: {
      directory: secrets,
      superuserPassword: path.join(secrets, 'superuser'),
      replicationPassword: path.join(secrets, 'replication'),
      agentPassword: path.join(secrets, 'agent'),
      proxyPassword: path.join(secrets, 'proxy'),
      applicationPassword: path.join(secrets, 'application'),
      apiToken: path.join(secrets, 'api-token'),
    },
    tls: {
      caFile: path.join(tls, 'ca.crt'),
      certFile: (node) => path.join(tls, `${node}.crt`),
      keyFile: (node) => path.join(tls, `${node}.key`),
    },
    nodes: Object.entries(config.nodes).map(([name, node]) => {
      const directory = at(node.directory ?? path.join(DEFAULT_ROOT, config.cluster, name))
      return {
        name,
        host: node.host,
        port: node.port,
        apiPort: node.apiPort,
        apiCaFile: speaksTls(config) ? path.join(tls, 'ca.crt') : null,
        listen: node.listen ?? defaultListen(node.host),
        nameIsLocal: node.listen === undefined && isIP(node.host) === 0,
        sourceAddresses: node.sourceAddresses,
        directory,
        socketDirectory:
          node.socketDirectory === undefined ? path.join(directory, 'run') : at(node.socketDirectory),
        candidatePriority: node.candidatePriority,
      }
    }),
  }
}

const DEFAULT_ROOT = '/var/lib/understudy'

/** What stays on one machine needs no encryption against those who listen on a network. */
function speaksTls({ api, nodes }: ClusterConfig): boolean {
  return (
    api.tls === 'on' || (api.tls === 'auto' && !Object.values(nodes).every(({ host }) => isLoopback(host)))
  )
}

/** A name may come to mean another address while the server runs, which then would not listen there. */
function defaultListen(host: string): readonly string[] {
  return isIP(host) !== 0 || isLoopback(host) ? [host] : ['*']
}

/** Of pg_hba.conf: who lets clients in; undefined: understudy itself, too. */
export function ownAccessOf({ postgres }: ResolvedConfig): { readonly superuser: string } | undefined {
  return postgres.clientAccess === 'own' ? { superuser: postgres.superuser } : undefined
}

export function nodeOf(config: ResolvedConfig, name: string): ResolvedNode {
  const node = config.nodes.find((each) => each.name === name)
  if (node !== undefined) return node
  const suggestion = nearest(
    name,
    config.nodes.map((each) => each.name),
  )
  const more = suggestion === null ? '' : `, did you mean ${suggestion}?`
  throw new UnderstudyError('unknown-node', `the cluster ${config.cluster} has no node ${name}${more}`)
}
