/** Whom a connection to a server belongs to, and whom it serves. `Server` is that connection. */
import type { ClientStatements } from './client-statements.ts'
import type { Parameters } from './parameters.ts'
import type { Traffic } from './traffic.ts'

/** The pool that a connection belongs to. */
export interface Home<Server> {
  /** Nobody uses it any more. */
  release(server: Server): void
  /** Its client has gone, or left something half-way. */
  abandon(server: Server, inMessage: boolean): void
  /** The cancel requests against it are through. */
  cancelled(server: Server): void
}

/** The client's side of a link. */
export interface LinkedClient<Server> {
  readonly traffic: Traffic
  toClient(bytes: Buffer): void
  flushToClient(): void
  readonly parameters: Parameters
  readonly statements: ClientStatements
  /** Settings that it asked for at its start: RESET leads back to them. */
  readonly began: ReadonlyMap<string, string>
  schemaChanged(): void
  /** Everything is answered and no transaction is open; comes after the answer was passed on. */
  serverReady(server: Server): void
  /** Everything is answered, and a transaction is open. */
  serverInTransaction(server: Server): void
  /** Everything is answered, and the answer was withheld to its end, with an error that another node would not give. */
  serverRefused(server: Server, code: string): void
  /** Comes once, after the link is undone; `why` in the server's own last words when it had any. */
  serverLost(server: Server, why: string): void
  /** The server takes bytes again. */
  serverDrained(): void
}
