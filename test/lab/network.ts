/**
 * The network between the nodes, the store's members and the clients of a lab. Two kinds behind one interface: namespaces, in which
 * packets are dropped for real, and proxies between loopback addresses where this process may make no namespaces.
 */

/** A node's name, a store member's name, or CLIENTS. */
export type Place = string

/** Where the test itself and its clients are. */
export const CLIENTS: Place = 'clients'

/** What `from` sends to `to` does not arrive; the other way is a cut of its own. */
export interface Cut {
  readonly from: Place
  readonly to: Place
  /** drop: nothing comes back, as behind a cable that was pulled. reject: answered with a reset, as by a host without that program. */
  readonly how: 'drop' | 'reject'
}

export interface Delay {
  readonly from: Place
  readonly to: Place
  /** Of every piece, each way. */
  readonly ms: number
}

/** A TCP port that others reach at a place. */
export interface Service {
  readonly at: Place
  readonly port: number
}

export interface Network {
  readonly kind: 'namespaces' | 'proxies'
  /** Whether `delay` can be called: everything goes through proxies. */
  readonly canDelay: boolean
  /** The address under which `from` reaches `to`; `to` itself listens at addressOf(to, to). */
  addressOf(from: Place, to: Place): string
  /** The command that runs `command` at a place, as the user that runs PostgreSQL. */
  at(place: Place, command: readonly string[]): readonly string[]
  /** From now on exactly these. */
  cut(cuts: readonly Cut[]): Promise<void>
  /** From now on exactly these. */
  delay(delays: readonly Delay[]): void
  /** Can be called twice. */
  close(): Promise<void>
}

export interface NetworkOptions {
  /** Number and name of the lab (claim.ts). */
  readonly number: number
  readonly name: string
  /** At most nine, in a fixed order: the addresses follow from it. CLIENTS is not among them. */
  readonly places: readonly Place[]
  /** What can be reached; only these go through proxies. */
  readonly services: readonly Service[]
  /** Places whose program listens on 127.0.0.1 of this machine only: reached through a proxy in any kind of network. */
  readonly local: readonly Place[]
  /** Everything through proxies, so that it can be late. Proxies always do. */
  readonly canDelay: boolean
  /** null: this process is an ordinary user already. */
  readonly runAs: { readonly uid: number; readonly gid: number } | null
}

/** Both ways. */
export function cutBoth(a: Place, b: Place, how: Cut['how'] = 'drop'): readonly Cut[] {
  return [
    { from: a, to: b, how },
    { from: b, to: a, how },
  ]
}

/** Everything between two groups, both ways. */
export function cutBetween(
  left: readonly Place[],
  right: readonly Place[],
  how: Cut['how'] = 'drop',
): readonly Cut[] {
  return left.flatMap((a) => right.filter((b) => b !== a).flatMap((b) => cutBoth(a, b, how)))
}
