/** What the console shows of the world outside the workers. */

export interface ConfigRow {
  /** As in understudy.yaml. */
  readonly key: string
  readonly value: string
  /** '': there is none. */
  readonly default: string
  /** A change counts without a restart. */
  readonly changeable: boolean
}

/** Where a statement goes, on each port, and why. */
export interface RouteRow {
  readonly port: string
  readonly target: string
  readonly reason: string
}

export interface ConsoleFacts {
  readonly version: string
  readonly config: () => readonly ConfigRow[]
  readonly explainRoute: (sql: string) => readonly RouteRow[]
}

/** The read-write port asks nothing of a statement. */
export function explainReadWrite(): readonly RouteRow[] {
  return [{ port: 'read-write', target: 'primary', reason: 'everything on this port goes to the primary' }]
}

export const NO_CONSOLE_FACTS: ConsoleFacts = {
  version: '0',
  config: () => [],
  explainRoute: explainReadWrite,
}
