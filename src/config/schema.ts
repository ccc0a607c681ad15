/**
 * The ONE schema of understudy.yaml: parsing, defaults, and (later) JSON Schema, help and reference docs come from it.
 * Two numbers are what a person sets, `rto` and `durability`; every other timer follows from them (core/timers.ts).
 */
import { z } from 'zod'

/** Ends in a slot name and an application_name, so: PostgreSQL's slot characters, short, no look-alikes by case. */
export const NODE_NAME = /^[a-z][a-z0-9_-]{0,30}$/

const nodeName = z
  .string()
  .regex(NODE_NAME, 'a node name is lower-case letters, digits, - and _, at most 31, beginning with a letter')
const port = z.number().int().min(1).max(65_535)

/** "3s", "500ms", "2m" -> milliseconds. */
export function parseDuration(text: string): number | null {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text.trim())
  if (match?.[1] === undefined || match[2] === undefined) return null
  const unit = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }[match[2]] ?? 1
  return Math.round(Number(match[1]) * unit)
}

const duration = z.string().transform((text, context) => {
  const ms = parseDuration(text)
  if (ms !== null) return ms
  context.addIssue({ code: 'custom', message: 'a duration is a number and ms, s, m, h or d: 3s' })
  return z.NEVER
})

const node = z.strictObject({
  /** Name or address under which the other nodes and the clients reach it. */
  host: z.string().min(1),
  port,
  apiPort: port,
  /** Of this node's files; relative to the configuration file. */
  directory: z.string().min(1),
  /** Default: run/ in the directory, or a short one in the system's temporary directory when that path is too long. */
  socketDirectory: z.string().min(1).optional(),
  /** Ties at an election go by it; 0 votes but is never elected. */
  candidatePriority: z.number().int().min(0).max(1000).default(100),
})

const limit = z.number().int().min(1).max(1_000_000)

const proxy = z.strictObject({
  /** Where clients come in. */
  host: z.string().min(1).default('127.0.0.1'),
  ports: z
    .strictObject({
      /** Always the primary. */
      readWrite: port.optional(),
    })
    .prefault({}),
  poolMode: z.enum(['session', 'transaction']).default('transaction'),
  defaultPoolSize: limit.default(20),
  maxClients: limit.default(2_000),
  maxLogins: limit.default(200),
  maxWaiting: limit.default(2_000),
  holdTimeout: duration.default(10_000),
  loginTimeout: duration.default(15_000),
  /** 0s: no limit. */
  idleTransactionTimeout: duration.default(0),
  serverIdleTimeout: duration.default(600_000),
  serverLifetime: duration.default(3_600_000),
  serverConnectTimeout: duration.default(3_000),
  maxPreparedStatements: limit.default(200),
  tls: z.enum(['allow', 'require']).default('allow'),
})

export const configSchema = z.strictObject({
  cluster: z.string().regex(NODE_NAME, 'a cluster name is written like a node name').default('main'),
  durability: z.enum(['quorum', 'async']).default('quorum'),
  /** How soon the primary's silence counts as death. */
  rto: duration.pipe(z.number().min(500).max(600_000)).default(3_000),
  whenStandbyLost: z.enum(['relax', 'block']).default('relax'),
  store: z.strictObject({
    endpoints: z.array(z.url({ protocol: /^https?$/ })).min(1),
    tokenFile: z.string().optional(),
    username: z.string().optional(),
    passwordFile: z.string().optional(),
    caFile: z.string().optional(),
    certFile: z.string().optional(),
    keyFile: z.string().optional(),
  }),
  postgres: z
    .strictObject({
      /** Directory of postgres and initdb, or a major version; default: what is found, the embedded one last. */
      binaries: z.string().optional(),
      parameters: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])).default({}),
      hba: z.array(z.string()).default([]),
    })
    .prefault({}),
  application: z
    .strictObject({ database: z.string().default('app'), user: z.string().default('app') })
    .prefault({}),
  /** Without it there is none. */
  proxy: proxy.optional(),
  /** Passwords and tokens, one 0600 file each; relative to the configuration file. */
  secretsDirectory: z.string().default('secrets'),
  /** ca.crt and, per node, NODE.crt and NODE.key. */
  tlsDirectory: z.string().default('tls'),
  nodes: z.record(nodeName, node).refine((nodes) => Object.keys(nodes).length > 0, 'at least one node'),
})

export type ClusterConfig = z.infer<typeof configSchema>
export type ProxyConfig = z.infer<typeof proxy>
export type NodeConfig = ClusterConfig['nodes'][string]
