/**
 * How a client reaches the cluster, as a libpq URI and as libpq's environment variables. Without a proxy, `auto`, `read-write` and
 * `read-only` name every node and let libpq choose (manual, section 34.1.1.3); node's `pg` knows single hosts only. Applications get the
 * proxy where it serves what they ask for. Pure.
 */
import { isIPv6 } from 'node:net'
import type { Endpoints } from '../api/contract.ts'
import { hostInUri } from '../config/fields.ts'
import type { ResolvedConfig, ResolvedNode } from '../config/load.ts'
import { nearest } from '../config/nearest.ts'
import { UnderstudyError } from '../errors/codes.ts'

export interface Connection {
  readonly hosts: readonly { readonly host: string; readonly port: number }[]
  readonly database: string
  readonly user: string
  readonly caFile: string
  /** null for a single node: whoever names a node means that node, whatever its role is. */
  readonly sessionAttributes: 'read-write' | 'prefer-standby' | null
  /** Where the user's password is; null: it is not understudy's. */
  readonly passwordFile: string | null
}

const ANY_NODE = ['auto', 'read-write', 'read-only'] as const

/** With several hosts the next one is tried only when this one failed: a frozen one must fail some day. */
const MULTI_HOST_CONNECT_TIMEOUT_S = 5

interface KnownCluster extends Pick<ResolvedConfig, 'cluster' | 'application' | 'secrets' | 'tls' | 'proxy'> {
  readonly postgres: Pick<ResolvedConfig['postgres'], 'superuser'>
  readonly nodes: readonly Pick<ResolvedNode, 'name' | 'host' | 'port'>[]
}

/** Errors: unknown-node. */
export function connectionFor(
  config: KnownCluster,
  {
    target,
    superuser,
    throughProxy = false,
  }: { readonly target: string; readonly superuser: boolean; readonly throughProxy?: boolean },
): Connection {
  const anyNode = (ANY_NODE as readonly string[]).includes(target)
  const nodes = config.nodes.filter((node) => anyNode || node.name === target)
  if (nodes.length === 0) throw unknownTarget(config, target)
  // A superuser looks after the servers themselves.
  const proxies = throughProxy && !superuser ? proxiesFor(config, target) : null
  return {
    hosts: proxies ?? nodes.map(({ host, port }) => ({ host, port })),
    database: config.application.database,
    user: superuser ? config.postgres.superuser : config.application.user,
    caFile: config.tls.caFile,
    sessionAttributes:
      anyNode && proxies === null ? (target === 'read-only' ? 'prefer-standby' : 'read-write') : null,
    passwordFile: superuser
      ? config.secrets.superuserPassword
      : config.application.managed
        ? config.secrets.applicationPassword
        : null,
  }
}

/** What clients are told of the proxy; null when the cluster has none. */
export function proxyEndpoints(config: ProxiedCluster): Endpoints | null {
  const at = (name: ProxyPort): string | null =>
    proxiesAt(config, name)
      ?.map(({ host, port }) => `${hostInUri(host)}:${port}`)
      .join(',') ?? null
  const endpoints = { auto: at('auto'), readWrite: at('readWrite'), readOnly: at('readOnly') }
  return Object.values(endpoints).every((each) => each === null) ? null : endpoints
}

export interface ProxiedCluster extends Pick<ResolvedConfig, 'proxy'> {
  readonly nodes: readonly Pick<ResolvedNode, 'host'>[]
}

export type ProxyPort = 'auto' | 'readWrite' | 'readOnly'
/** By the names that people say. */
export const PROXY_PORTS: readonly (readonly [ProxyPort, 'auto' | 'read-write' | 'read-only'])[] = [
  ['auto', 'auto'],
  ['readWrite', 'read-write'],
  ['readOnly', 'read-only'],
]

/** Where a target is served; whoever asks for `auto` is served as well where everything goes to the primary. */
function proxiesFor(
  config: ProxiedCluster,
  target: string,
): readonly { readonly host: string; readonly port: number }[] | null {
  const [port] = PROXY_PORTS.find(([, name]) => name === target) ?? []
  if (port === undefined) return null
  return proxiesAt(config, port) ?? (port === 'auto' ? proxiesAt(config, 'readWrite') : null)
}

/** Each leads to the same servers, so the order does not matter; null: the port is not served. */
export function proxiesAt(
  { proxy, nodes }: ProxiedCluster,
  name: ProxyPort,
): readonly { readonly host: string; readonly port: number }[] | null {
  const port = proxy?.ports[name]
  if (proxy === null || port === undefined) return null
  const hosts = proxy.host === undefined ? nodes.map(({ host }) => host) : [proxy.host]
  return [...new Set(hosts)].map((host) => ({ host, port }))
}

function unknownTarget(config: KnownCluster, target: string): UnderstudyError {
  const known = [...ANY_NODE, ...config.nodes.map((node) => node.name)]
  const meant = nearest(target, known)
  const more = meant === null ? '' : `, did you mean ${meant}?`
  return new UnderstudyError('unknown-node', `the cluster ${config.cluster} has no node ${target}${more}`, {
    hint: `It takes ${known.join(', ')}.`,
  })
}

/** `password` null leaves it out. */
export function libpqUri(connection: Connection, password: string | null): string {
  const user = encode(connection.user)
  const credentials = password === null ? user : `${user}:${encode(password)}`
  const hosts = connection.hosts
    .map(({ host, port }) => `${isIPv6(host) ? hostInUri(host) : encode(host)}:${port}`)
    .join(',')
  const parameters = Object.entries(uriParameters(connection))
    .map(([name, value]) => `${name}=${encode(value)}`)
    .join('&')
  return `postgresql://${credentials}@${hosts}/${encode(connection.database)}?${parameters}`
}

function uriParameters(connection: Connection): Record<string, string> {
  const parameters: Record<string, string> = { sslmode: 'verify-full', sslrootcert: connection.caFile }
  if (connection.sessionAttributes !== null) parameters['target_session_attrs'] = connection.sessionAttributes
  if (connection.hosts.length > 1) parameters['connect_timeout'] = String(MULTI_HOST_CONNECT_TIMEOUT_S)
  return parameters
}

/** RFC 3986: encodeURIComponent leaves a few characters alone that a shell or another parser would take for its own. */
function encode(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  )
}

/** The password stays out of the environment, which a process's neighbours can often read: it goes by the passfile. */
export function libpqEnvironment(connection: Connection, passFile: string | null): Record<string, string> {
  const environment: Record<string, string> = {
    PGHOST: connection.hosts.map(({ host }) => host).join(','),
    PGPORT: connection.hosts.map(({ port }) => port).join(','),
    PGUSER: connection.user,
    PGDATABASE: connection.database,
    PGSSLMODE: 'verify-full',
    PGSSLROOTCERT: connection.caFile,
    ...(passFile !== null && { PGPASSFILE: passFile }),
  }
  if (connection.sessionAttributes !== null)
    environment['PGTARGETSESSIONATTRS'] = connection.sessionAttributes
  if (connection.hosts.length > 1) environment['PGCONNECT_TIMEOUT'] = String(MULTI_HOST_CONNECT_TIMEOUT_S)
  return environment
}

/** What a person may have set for another server and libpq would prefer to what we set, or add to it. */
export const MISLEADING_VARIABLES: readonly string[] = [
  'PGHOSTADDR',
  'PGPASSWORD',
  'PGSERVICE',
  'PGTARGETSESSIONATTRS',
  'PGSSLCERT',
  'PGSSLKEY',
  'PGSSLCRL',
  'PGSSLCRLDIR',
]

/** One line for every host and database (manual, section 34.16): `\c other` in psql finds it too. */
export function passFileText(connection: Connection, password: string): string {
  const escaped = (text: string): string => text.replace(/[\\:]/g, (character) => `\\${character}`)
  return `*:*:*:${escaped(connection.user)}:${escaped(password)}\n`
}
