/** What a proxy shows of itself, to its console and its metrics, and across its processes: plain values. Times are in milliseconds. */

/** Per database and role, since the worker began. */
export interface TrafficView {
  readonly database: string
  readonly user: string
  readonly transactions: number
  readonly queries: number
  /** Bytes from clients, and to them. */
  readonly received: number
  readonly sent: number
  /** Of clients, for a server connection. */
  readonly waitMs: number
  /** Of servers in a transaction, and of those at work: sampled ten times a second. */
  readonly transactionMs: number
  readonly queryMs: number
  readonly parses: number
  readonly binds: number
  /** Server connections that were handed out. */
  readonly assignments: number
  /** Reads that a standby answered, and those that the primary had to because no standby was far enough. */
  readonly readsAtStandbys: number
  readonly readsAtPrimary: number
  /** Asked of another node, because the first one was lost or could not answer it. */
  readonly readsRepeated: number
}

/** A standby, as a worker knows it from what its agent tells. */
export interface StandbyView {
  readonly node: string
  /** Why nobody reads there; null: it is in rotation. */
  readonly outBecause: string | null
  /** null: not known. */
  readonly replayLsn: string | null
  readonly replayLagMs: number | null
  readonly replayLagBytes: number | null
}

/** Those of one database and role are together, whatever their start-up parameters are. */
export interface PoolView {
  readonly database: string
  readonly user: string
  readonly mode: 'session' | 'transaction'
  readonly size: number
  readonly paused: boolean
  readonly clientsActive: number
  readonly clientsWaiting: number
  readonly clientsIdle: number
  readonly serversActive: number
  readonly serversIdle: number
  /** Not handed out while a cancel request against them is under way. */
  readonly serversCancelling: number
  readonly serversOpening: number
  /** Of the client that waits longest; 0: nobody waits. */
  readonly longestWaitMs: number
}

export interface SessionView {
  readonly id: number
  readonly database: string
  readonly user: string
  readonly state: 'active' | 'waiting' | 'idle'
  readonly mode: 'session' | 'transaction'
  readonly address: string
  readonly port: number
  /** ISO 8601. */
  readonly connectedAt: string
  readonly waitMs: number
  /** The server's process that works for it; null: none does. */
  readonly serverPid: number | null
  readonly tls: string
  readonly applicationName: string
  readonly statements: number
}

export interface ServerView {
  readonly pid: number
  readonly database: string
  readonly user: string
  readonly state: 'active' | 'idle' | 'cancelling'
  readonly node: string
  readonly host: string
  readonly port: number
  readonly epoch: number
  /** Of the last ReadyForQuery. */
  readonly transaction: 'I' | 'T' | 'E'
  readonly connectedAt: string
  /** Since it did nothing; null: it works. */
  readonly idleMs: number | null
  /** Of the client that it works for. */
  readonly clientId: number | null
  readonly applicationName: string
  readonly statements: number
}

/** One worker, at one moment. */
export interface WorkerView {
  readonly worker: number
  readonly pid: number
  readonly startedAt: string
  readonly clients: number
  readonly logins: number
  readonly waitingBytes: number
  readonly residentBytes: number
  readonly cpuSeconds: number
  /** Who may be written to, as this worker knows. */
  readonly route: {
    readonly kind: 'open' | 'held'
    readonly epoch: number
    readonly primary: { readonly name: string; readonly host: string; readonly port: number } | null
    readonly reason: string
  }
  readonly refused: { readonly clients: number; readonly logins: number; readonly waiting: number }
  /** Empty when the proxy has no port for reads. */
  readonly standbys: readonly StandbyView[]
  readonly pools: readonly PoolView[]
  readonly traffic: readonly TrafficView[]
  readonly lastPeriod: { readonly ms: number; readonly added: readonly TrafficView[] }
  /** Empty unless they were asked for. */
  readonly sessions: readonly SessionView[]
  readonly servers: readonly ServerView[]
}

/** What became of looking at the files again. */
export type Reloaded =
  | { readonly kind: 'done'; readonly changed: readonly string[]; readonly needsRestart: readonly string[] }
  /** Nothing was taken over. */
  | { readonly kind: 'refused'; readonly reason: string }

/** What every worker can be asked, and what it answers. `database` null: every one. */
export interface ProxyQuestions {
  look: { readonly input: { readonly sessions: boolean }; readonly answer: WorkerView }
  /** `left`: server connections that are not released yet. Asked again until there are none. */
  pause: { readonly input: { readonly database: string | null }; readonly answer: { readonly left: number } }
  resume: { readonly input: { readonly database: string | null }; readonly answer: { readonly was: boolean } }
  reconnect: {
    readonly input: { readonly database: string | null }
    readonly answer: { readonly servers: number }
  }
  /** Ends sessions: that of a client, or all of a database. */
  kill: {
    readonly input: { readonly client: number } | { readonly database: string }
    readonly answer: { readonly clients: number }
  }
  reload: { readonly input: Record<never, never>; readonly answer: Reloaded }
}

export type ProxyQuestion = keyof ProxyQuestions

/** All workers of a proxy; one that dies meanwhile is left out of the answers. */
export interface ProxyFleet {
  ask<Q extends ProxyQuestion>(
    question: Q,
    input: ProxyQuestions[Q]['input'],
  ): Promise<readonly ProxyQuestions[Q]['answer'][]>
}
