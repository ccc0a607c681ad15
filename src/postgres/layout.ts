/** Where things lie in one node's directory, and the names that PostgreSQL itself knows us by. */
import { join } from 'node:path'

export const REPLICATION_ROLE = 'understudy_replication'
export const AGENT_ROLE = 'understudy_agent'
export const PROXY_ROLE = 'understudy_proxy'
/** The database that the agent looks from: it exists in every cluster, and no application has to. */
export const AGENT_DATABASE = 'postgres'

/** A directory that is being made gets this name plus random letters, and its final name only when it is whole. */
export const UNFINISHED_PREFIX = 'data.new-'

/** In the environment of every process that we start for a node: how a successor knows them again. */
export const MARKER_VARIABLE = 'UNDERSTUDY_NODE'

export interface NodeLayout {
  readonly nodeDir: string
  readonly dataDir: string
  readonly confDir: string
  readonly logDir: string
  /** conf/postgresql.conf, named on postgres' command line. */
  readonly configFile: string
  /** What postgres says before its log collector runs. */
  readonly startupLog: string
}

export function nodeLayout(nodeDir: string): NodeLayout {
  const confDir = join(nodeDir, 'conf')
  const logDir = join(nodeDir, 'log')
  return {
    nodeDir,
    dataDir: join(nodeDir, 'data'),
    confDir,
    logDir,
    configFile: join(confDir, 'postgresql.conf'),
    startupLog: join(logDir, 'startup.log'),
  }
}

/** Slot names allow lower-case letters, digits and underscores only (manual: 27.2.6.1). */
export function slotName(node: string): string {
  return `understudy_${node.toLowerCase().replaceAll('-', '_')}`
}

/** The longest socket path is 107 bytes plus the closing zero (unix(7), sun_path). */
export const MAX_SOCKET_PATH_BYTES = 107

export function socketPath(socketDirectory: string, port: number): string {
  return join(socketDirectory, `.s.PGSQL.${port}`)
}
