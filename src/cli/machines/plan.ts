/** What `understudy init` was asked for, as the values of an understudy.yaml. Pure. */
import { isIP } from 'node:net'
import { hostInUri, hostProblem, NODE_NAME } from '../../config/fields.ts'
import { DEFAULT_API_PORT, DEFAULT_PORT } from '../../config/sections/nodes.ts'
import { UnderstudyError } from '../../errors/codes.ts'
import type { ConfigValues } from '../config/annotate.ts'
import { clientUrl } from './etcd.ts'

export interface InitFlags {
  readonly cluster?: string
  readonly nodes?: readonly string[]
  readonly store?: readonly string[]
  readonly storeOn?: readonly string[]
  readonly storeUser?: string
  readonly durability?: 'quorum' | 'async'
  readonly rto?: string
  readonly pg?: string
  readonly port?: number
  readonly apiPort?: number
  /** Left out: no proxy. */
  readonly proxyPort?: number
}

/** Which files a person gave for the store; they are copied into the directory. */
export interface StoreFiles {
  readonly ca: boolean
  readonly certificate: boolean
  readonly password: boolean
}

export interface NamedHost {
  readonly name: string
  readonly host: string
  readonly port: number | undefined
}

/** Errors: usage. */
export function parseNodes(words: readonly string[], flag = '--nodes'): readonly NamedHost[] {
  const nodes = words.map((word) => parseNode(word, flag))
  for (const { name } of nodes)
    if (nodes.filter((each) => each.name === name).length > 1)
      throw usage(`${flag} names ${name} twice`, 'Each node has a name of its own.')
  return nodes
}

/** NAME=HOST, NAME=HOST:PORT, NAME=fd00::1, NAME=[fd00::1]:PORT. */
function parseNode(word: string, flag: string): NamedHost {
  const [, name = '', rest = ''] = /^([^=]*)=(.*)$/.exec(word) ?? []
  if (name === '' || rest === '')
    throw usage(
      `${flag}: ${JSON.stringify(word)} is not NAME=HOST`,
      `Write ${flag} alpha=10.0.0.1,bravo=10.0.0.2,charlie=db3.example.com.`,
    )
  if (!NODE_NAME.test(name))
    throw usage(
      `${flag}: ${JSON.stringify(name)} is no node name`,
      'A node name is lower-case letters, digits, - and _, at most 31, beginning with a letter.',
    )
  const { host, port } = splitPort(rest)
  const problem = hostProblem(host)
  if (problem !== null) throw usage(`${flag}: ${name}=${rest}: ${problem}`, 'A host is a name or an address.')
  if (port !== undefined && !(port >= 1 && port <= 65_535))
    throw usage(`${flag}: ${name}=${rest}: the port is not from 1 to 65535`, 'Write NAME=HOST:PORT.')
  return { name, host, port }
}

function splitPort(text: string): { readonly host: string; readonly port: number | undefined } {
  const bracketed = /^\[(.*)\](?::(\d+))?$/.exec(text)
  if (bracketed !== null)
    return { host: bracketed[1] ?? '', port: bracketed[2] === undefined ? undefined : Number(bracketed[2]) }
  const [, host = '', port = ''] = isIP(text) === 6 ? [] : (/^([^:]*):(\d+)$/.exec(text) ?? [])
  return port === '' ? { host: text, port: undefined } : { host, port: Number(port) }
}

/** Errors: usage. */
export function configValues(flags: InitFlags, files: StoreFiles): ConfigValues {
  const nodes = parseNodes(flags.nodes ?? [])
  if (nodes.length === 0)
    throw usage('which nodes shall there be?', 'Say --nodes alpha=HOST,bravo=HOST,charlie=HOST.')
  return {
    ...(flags.cluster !== undefined && { cluster: flags.cluster }),
    ...(flags.durability !== undefined && { durability: flags.durability }),
    ...(flags.rto !== undefined && { rto: flags.rto }),
    store: storeValues(flags, nodes, files),
    ...(flags.pg !== undefined && { postgres: { binaries: flags.pg } }),
    ...(flags.proxyPort !== undefined && { proxy: { ports: proxyPorts(flags.proxyPort, flags, nodes) } }),
    nodes: Object.fromEntries(
      nodes.map(({ name, host, port }) => {
        const chosen = port ?? flags.port
        return [
          name,
          {
            host,
            ...(chosen !== undefined && { port: chosen }),
            ...(flags.apiPort !== undefined && { apiPort: flags.apiPort }),
          },
        ]
      }),
    ),
  }
}

/** The ports for reads lie on both sides of the one that was asked for, unless something else of a node is there. */
function proxyPorts(
  readWrite: number,
  { port = DEFAULT_PORT, apiPort = DEFAULT_API_PORT }: InitFlags,
  nodes: readonly NamedHost[],
): ConfigValues {
  const taken = new Set([apiPort, ...nodes.map((node) => node.port ?? port)])
  const isFree = (wanted: number): boolean => wanted > 0 && wanted < 65_536 && !taken.has(wanted)
  return {
    ...(isFree(readWrite - 1) && { auto: readWrite - 1 }),
    readWrite,
    ...(isFree(readWrite + 1) && { readOnly: readWrite + 1 }),
  }
}

function storeValues(flags: InitFlags, nodes: readonly NamedHost[], files: StoreFiles): ConfigValues {
  if (flags.storeOn !== undefined) return storeOnNodes(flags.storeOn, nodes)
  if (flags.store === undefined)
    throw usage(
      'where is the store?',
      'Say --store https://HOST:2379,… for an etcd that runs already, or --store-on NODE,NODE,NODE to have one set up on nodes.',
    )
  return {
    endpoints: flags.store,
    ...(files.ca && { caFile: 'store/ca.crt' }),
    ...(files.certificate && { certFile: 'store/client.crt', keyFile: 'store/client.key' }),
    ...(files.password && { username: flags.storeUser, passwordFile: 'store/password' }),
  }
}

function storeOnNodes(names: readonly string[], nodes: readonly NamedHost[]): ConfigValues {
  const hosts = names.map((name) => {
    const node = nodes.find((each) => each.name === name)
    if (node === undefined)
      throw usage(
        `--store-on: there is no node ${name}`,
        `The nodes are ${nodes.map((each) => each.name).join(', ')}.`,
      )
    return node.host
  })
  if (new Set(hosts).size < names.length)
    throw usage(
      '--store-on: two members on one machine are lost together',
      'Name nodes on machines of their own.',
    )
  return {
    endpoints: hosts.map(clientUrl),
    caFile: 'tls/ca.crt',
    certFile: 'store/client.crt',
    keyFile: 'store/client.key',
  }
}

/** What --store-on chose, found again in the file: endpoints on nodes, with the cluster's own authority. */
export function etcdNodes<T extends { readonly host: string }>(
  store: { readonly endpoints: readonly string[]; readonly caFile: string | null },
  authority: string,
  nodes: readonly T[],
): readonly T[] {
  if (store.caFile !== authority) return []
  const urls = new Set(store.endpoints.map((endpoint) => new URL(endpoint).host))
  return nodes.filter(({ host }) => urls.has(new URL(clientUrl(host)).host))
}

function usage(message: string, hint: string): UnderstudyError {
  return new UnderstudyError('usage', message, { hint })
}

/** "alpha=10.0.0.1" as it would be typed again. */
export function formatNode({ name, host, port }: NamedHost): string {
  return `${name}=${port === undefined ? host : `${hostInUri(host)}:${port}`}`
}
