/** What the composition root hands to an agent: ports and plain values, never a concrete adapter. */
import type { Spec } from '../core/cluster-view.ts'
import type { Clock } from '../ports/clock.ts'
import type { Cloner, Passfiles } from '../ports/cloner.ts'
import type { ClusterStore } from '../ports/cluster-store.ts'
import type { Log } from '../ports/log.ts'
import type { Postgres } from '../ports/postgres.ts'
import type { Prober, ProbeTarget } from '../ports/prober.ts'

export interface AgentOptions {
  readonly node: string
  readonly cluster: string
  readonly host: string
  readonly port: number
  readonly apiPort: number
  readonly nodeDirectory: string
  readonly postgresVersion: string
  /** Random, new with every start. */
  readonly session: string
  readonly spec: Spec
  /** With the agents' ports; the members of `spec` have PostgreSQL's only. */
  readonly targets: readonly ProbeTarget[]
  readonly canRewind: boolean
}

export interface AgentDependencies {
  readonly store: ClusterStore
  readonly postgres: Postgres
  readonly cloner: Cloner
  readonly passfiles: Passfiles
  readonly prober: Prober
  readonly clock: Clock
  readonly log: Log
}
