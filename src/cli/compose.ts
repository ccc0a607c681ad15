/** Joins the shells with the concrete adapters, from one configuration: the only place that knows both. */
import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { pino } from 'pino'
import type { AgentDependencies, AgentOptions } from '../agent/dependencies.ts'
import { holdAgent, probeAgent } from '../api/probe.ts'
import { nodeOf, ownAccessOf, type ResolvedConfig, type ResolvedNode } from '../config/load.ts'
import { timersOf } from '../core/timers.ts'
import { UnderstudyError } from '../errors/codes.ts'
import type { Clock } from '../ports/clock.ts'
import type { Log } from '../ports/log.ts'
import type { Postgres } from '../ports/postgres.ts'
import type { Prober } from '../ports/prober.ts'
import type { Store } from '../ports/store.ts'
import { AccessUpdater } from '../postgres/access.ts'
import type { AdapterLog } from '../postgres/adapter-log.ts'
import { type Binaries, findBinaries } from '../postgres/binaries.ts'
import type { TlsPaths } from '../postgres/configuration-input.ts'
import { createPostgres } from '../postgres/create-postgres.ts'
import { nodeLayout } from '../postgres/layout.ts'
import { holdPostgres, probePostgres } from '../postgres/probe.ts'
import { createClusterStore } from '../store/cluster-store.ts'
import type { Credentials } from '../store/gateway/authenticator.ts'
import { createStoreClient } from '../store/gateway-client.ts'
import { createCloner, createPassfiles } from './cloner.ts'
import { HostAddresses } from './machines/addresses.ts'

export const systemClock: Clock = {
  // CLOCK_MONOTONIC itself and not the time since this process began: a lease outlives its agent (I10).
  nowMs: () => Number(process.hrtime.bigint()) / 1e6,
  timestamp: () => new Date().toISOString(),
}

/** Synchronous: the last line before a crash is the one that is wanted. */
export function createLog(fields: Readonly<Record<string, unknown>>): Log {
  const logger = pino(
    { base: fields, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ sync: true }),
  )
  return {
    info: (message, more) => logger.info(more ?? {}, message),
    warn: (message, more) => logger.warn(more ?? {}, message),
    error: (message, more) => logger.error(more ?? {}, message),
  }
}

/** Errors: no-binaries, unsupported-version. */
export async function binariesOf(config: ResolvedConfig): Promise<Binaries> {
  const cacheDir = path.join(path.dirname(config.file), 'binaries')
  const request = config.postgres.binaries ?? undefined
  const found = await findBinaries({ cacheDir, ...(request === undefined ? {} : { request }) })
  if (found.kind === 'ok') return found.value
  throw new UnderstudyError(found.code, found.reason, found.hint === undefined ? {} : { hint: found.hint })
}

export function composePostgres(
  config: ResolvedConfig,
  node: ResolvedNode,
  binaries: Binaries,
  log: AdapterLog,
  addresses = new HostAddresses(),
): Postgres {
  return createPostgres({
    nodeDir: node.directory,
    node: node.name,
    binaries,
    port: node.port,
    listenAddresses: node.listen,
    socketDirectory: node.socketDirectory,
    members: () => addresses.membersOf(config.nodes),
    secrets: {
      superuser: config.secrets.superuserPassword,
      replication: config.secrets.replicationPassword,
      agent: config.secrets.agentPassword,
      proxy: config.secrets.proxyPassword,
      application: config.secrets.applicationPassword,
    },
    tls: tlsPathsOf(config, node),
    rtoMs: config.rtoMs,
    applicationRole: config.application.user,
    database: config.application.database,
    parameters: config.postgres.parameters,
    extraHba: config.postgres.hba,
    ownAccess: ownAccessOf(config),
    ident: config.postgres.ident,
    superuser: config.postgres.superuser,
    log,
  })
}

function tlsPathsOf(config: ResolvedConfig, { name }: ResolvedNode): TlsPaths {
  return { certificate: config.tls.certFile(name), key: config.tls.keyFile(name), ca: config.tls.caFile }
}

/** `answerMs`: how long one member may take; an agent asks the next one soon, a person can wait. */
export async function composeStore(
  config: ResolvedConfig,
  answerMs = timersOf(config.rtoMs).storeAnswerMs,
): Promise<Store> {
  const { endpoints, tokenFile, username, passwordFile, caFile, certFile, keyFile } = config.store
  const read = async (file: string | null): Promise<string | undefined> =>
    file === null ? undefined : await readFile(file, 'utf8')
  const [token, password, ca, cert, key] = await Promise.all(
    [tokenFile, passwordFile, caFile, certFile, keyFile].map(read),
  )
  const tls = { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) }
  return createStoreClient({
    endpoints,
    credentials: credentialsOf(token, username, password),
    ...(Object.keys(tls).length > 0 && { tls }),
    requestTimeoutMs: answerMs,
    nowMs: systemClock.nowMs,
  })
}

function credentialsOf(
  token: string | undefined,
  username: string | null,
  password: string | undefined,
): Credentials {
  if (token !== undefined) return { token: token.trim() }
  if (username !== null && password !== undefined)
    return { username, password: password.replace(/\r?\n$/, '') }
  return 'none'
}

/** The password and the authority are read once: a probe must not wait for a disk. */
async function composeProber(config: ResolvedConfig, node: string): Promise<Prober> {
  const password = (await readFile(config.secrets.agentPassword, 'utf8')).trim()
  const caPem = await readFile(config.tls.caFile, 'utf8')
  return {
    probe: (target, port, deadlineMs) =>
      port === 'agent' ? probeAgent(target, deadlineMs) : probePostgres(target, deadlineMs),
    hold: (target, port, onOpen, onEnd) =>
      port === 'agent'
        ? holdAgent(target, onOpen, onEnd)
        : holdPostgres(target, { password, caPem, node }, onOpen, onEnd),
  }
}

export interface ComposedAgent {
  readonly options: AgentOptions
  readonly dependencies: AgentDependencies
  /** What the nodes' host names mean; refreshed by whoever runs the agent. */
  readonly addresses: HostAddresses
  readonly access: AccessUpdater
  /** Of the PostgreSQL that it runs. */
  readonly binDirectory: string
}

export async function composeAgent(config: ResolvedConfig, name: string): Promise<ComposedAgent> {
  const node = nodeOf(config, name)
  const log = createLog({ node: name })
  const binaries = await binariesOf(config)
  const addresses = new HostAddresses()
  await addresses.refresh(config.nodes)
  const postgres = composePostgres(
    config,
    node,
    binaries,
    (event) => {
      if (event.level === 'warn') log.warn(event.message, event.fields)
      else if (event.level === 'info') log.info(event.message, event.fields)
    },
    addresses,
  )
  const access = new AccessUpdater({
    layout: nodeLayout(node.directory),
    tls: tlsPathsOf(config, node),
    members: () => addresses.membersOf(config.nodes),
    extraHba: config.postgres.hba,
    ownAccess: ownAccessOf(config),
    reload: () => postgres.reload(),
    replicationPassword: config.secrets.replicationPassword,
  })
  const cloner = {
    node: name,
    nodeDirectory: node.directory,
    caFile: config.tls.caFile,
    replicationPasswordFile: config.secrets.replicationPassword,
  }
  return {
    options: {
      node: name,
      cluster: config.cluster,
      host: node.host,
      port: node.port,
      apiPort: node.apiPort,
      nodeDirectory: node.directory,
      postgresVersion: binaries.version,
      targets: config.nodes,
      canRewind: binaries.pgRewind !== null,
      session: randomBytes(8).toString('hex'),
      spec: {
        members: config.nodes.map(({ name, host, port }) => ({ name, host, port })),
        durability: config.durability,
        rtoMs: config.rtoMs,
        whenStandbyLost: config.whenStandbyLost,
        major: binaries.major,
        priority: node.candidatePriority,
      },
    },
    dependencies: {
      store: createClusterStore(await composeStore(config), config.cluster),
      postgres,
      cloner: createCloner(cloner),
      passfiles: createPassfiles(cloner),
      prober: await composeProber(config, name),
      clock: systemClock,
      log,
    },
    addresses,
    access,
    binDirectory: binaries.binDir,
  }
}
