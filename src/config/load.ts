/**
 * Reads understudy.yaml: where a line is wrong its number is said, a misspelt key gets the nearest one suggested, and relative
 * paths are resolved against the file's directory, so that the agent never depends on where it was started.
 */
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { LineCounter, parseDocument } from 'yaml'
import type { z } from 'zod'
import { UnderstudyError } from '../errors/codes.ts'
import { nearest } from './nearest.ts'
import { type ClusterConfig, configSchema, type ProxyConfig } from './schema.ts'

export interface ResolvedNode {
  readonly name: string
  readonly host: string
  readonly port: number
  readonly apiPort: number
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
  }
  readonly application: { readonly database: string; readonly user: string }
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
  return resolve(parseConfig(text, absolute), absolute)
}

/** Errors: config-invalid with file, line and, for an unknown key, the nearest known one. */
export function parseConfig(text: string, file: string): ClusterConfig {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true })
  const syntax = document.errors[0]
  if (syntax !== undefined) {
    const line = lines.linePos(syntax.pos[0]).line
    throw new UnderstudyError('config-invalid', `${file}:${line}: ${syntax.message.split('\n')[0]}`)
  }
  const parsed = configSchema.safeParse(document.toJS() ?? {})
  if (parsed.success) return parsed.data
  const issue = parsed.error.issues[0]
  const where = issue === undefined ? 1 : lineOf(document, lines, issue)
  throw new UnderstudyError(
    'config-invalid',
    `${file}:${where}: ${issue === undefined ? 'invalid' : sentence(issue)}`,
  )
}

function lineOf(
  document: ReturnType<typeof parseDocument>,
  lines: LineCounter,
  issue: z.core.$ZodIssue,
): number {
  const keys = issue.code === 'unrecognized_keys' ? issue.keys.slice(0, 1) : []
  const full = [...issue.path, ...keys].map((part) => (typeof part === 'symbol' ? String(part) : part))
  for (let depth = full.length; depth > 0; depth--) {
    const node = document.getIn(full.slice(0, depth), true) as
      | { range?: [number, number, number] }
      | undefined
    if (node?.range !== undefined && node.range !== null) return lines.linePos(node.range[0]).line
  }
  return 1
}

function sentence(issue: z.core.$ZodIssue): string {
  const at = issue.path.length === 0 ? '' : `${issue.path.map(String).join('.')}: `
  if (issue.code !== 'unrecognized_keys') return `${at}${issue.message}`
  const key = issue.keys[0] ?? ''
  const suggestion = nearest(key, KNOWN_KEYS)
  return `${at}unknown key "${key}"${suggestion === null ? '' : `, did you mean "${suggestion}"?`}`
}

const KNOWN_KEYS: readonly string[] = [
  ...Object.keys(configSchema.shape),
  ...Object.keys(configSchema.shape.store.shape),
  ...Object.keys(configSchema.shape.proxy.unwrap().shape),
  'readWrite',
  'binaries',
  'parameters',
  'hba',
  'database',
  'user',
  'host',
  'port',
  'apiPort',
  'directory',
  'socketDirectory',
  'candidatePriority',
]

function resolve(config: ClusterConfig, file: string): ResolvedConfig {
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
    },
    application: config.application,
    proxy: config.proxy ?? null,
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
      const directory = at(node.directory)
      return {
        name,
        host: node.host,
        port: node.port,
        apiPort: node.apiPort,
        directory,
        socketDirectory:
          node.socketDirectory === undefined ? path.join(directory, 'run') : at(node.socketDirectory),
        candidatePriority: node.candidatePriority,
      }
    }),
  }
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
