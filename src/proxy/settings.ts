/** What can be set of the proxy (understudy.yaml, `proxy:`); every time in milliseconds. */

import type { Level } from './classify/verdict.ts'

export type PoolMode = 'session' | 'transaction'

/** Of the ports `auto` and `read-only`. */
export interface ReadDefaults {
  readonly level: Level
  /** A standby that is further behind is read from by nobody. */
  readonly maxLagMs: number
  /** How long a read waits for a standby that has what it must see, before it goes to the primary. */
  readonly waitMs: number
  /** Whether the primary serves the port for reads when no standby may. */
  readonly readOnlyFallback: boolean
}

/** What is left out fits every one. */
export interface PoolRule {
  readonly database?: string | undefined
  readonly user?: string | undefined
  readonly size?: number | undefined
  readonly mode?: PoolMode | undefined
}

export interface ProxySettings {
  /** Addresses of this machine; '*' is every one. */
  readonly listen: readonly string[]
  /** null: not served. */
  readonly ports: {
    readonly auto: number | null
    readonly readWrite: number | null
    readonly readOnly: number | null
  }
  readonly reads: ReadDefaults
  readonly poolMode: PoolMode
  /** Server connections per database, user and set of start-up parameters. */
  readonly defaultPoolSize: number
  /** Sizes and modes of single pools; the first one that fits and says something counts. */
  readonly pools: readonly PoolRule[]
  /** Of all workers together. */
  readonly maxClients: number
  /** Clients in the middle of a login. */
  readonly maxLogins: number
  /** Clients that wait for a server connection, of all pools. */
  readonly maxWaiting: number
  /** What they have sent already, all together. */
  readonly maxWaitingBytes: number
  /** How long a client may wait: for a server connection, and for a primary. */
  readonly holdTimeoutMs: number
  readonly loginTimeoutMs: number
  /** 0: no limit. */
  readonly idleTransactionTimeoutMs: number
  /** Server connections that nobody needs are closed after this. */
  readonly serverIdleTimeoutMs: number
  /** And after this one they are replaced when they are free. */
  readonly serverLifetimeMs: number
  readonly serverConnectTimeoutMs: number
  /** Prepared statements that are kept per server. */
  readonly maxPreparedStatements: number
  /** Bytes of the texts that one client has prepared by name. */
  readonly maxClientStatements: number
  /** COMMITs without an answer are looked up afterwards, at the price of a question ahead of each. */
  readonly resolveCommits: boolean
  readonly clientTls: 'allow' | 'require'
  /** Who may use the console. */
  readonly consoleRoles: readonly string[]
}
