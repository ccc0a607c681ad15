/** What the proxy needs from the outside: where the primary is, and how a role logs in. */

export interface RoutedNode {
  readonly name: string
  readonly host: string
  readonly port: number
}

/** Who may be written to, as far as is known. A later epoch always replaces an earlier one (I9). */
export type Route =
  /** The primary of `epoch` takes writes. */
  | {
      readonly kind: 'open'
      readonly epoch: number
      readonly primary: RoutedNode
      /** The first number of a transaction that this primary has given in its epoch, as text; null or left out: not known. */
      readonly nextXid?: string | null
    }
  /** Nobody takes writes right now: clients wait. `reason` is for people. */
  | {
      readonly kind: 'held'
      readonly epoch: number
      readonly reason: string
      /** Of the hold before a switchover: the primary still runs, so that what is under way there can end. */
      readonly hold?: string
    }

export interface Routing {
  readonly current: Route
  /** Called with each change, at once; ends with the returned function. */
  subscribe(listener: (route: Route) => void): () => void
}

/** How to find a role's verifier (pg_authid.rolpassword). */
export type LoginLookup =
  /** `verifier` null: no password is stored. */
  | { readonly kind: 'found'; readonly verifier: string | null }
  /** It does not exist, may not log in, or its time is over. */
  | { readonly kind: 'unknown' }
  | { readonly kind: 'unavailable'; readonly reason: string }

export interface Logins {
  lookUp(role: string): Promise<LoginLookup>
}
