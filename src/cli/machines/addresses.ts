/**
 * What the nodes' host names mean right now. pg_hba.conf takes names, but looks each client's address up both ways at every connection,
 * which needs reverse DNS and its patience; so the agent looks the names up itself, beside everything else, and writes addresses.
 */
import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import type { ResolvedNode } from '../../config/load.ts'

export interface MemberAddresses {
  readonly name: string
  readonly host: string
  readonly port: number
  /** Addresses and networks from which it connects; a name that could not be looked up yet stands as it is. */
  readonly addresses: readonly string[]
}

type Lookup = (host: string) => Promise<readonly string[]>

const LOOKUP_DEADLINE_MS = 5_000

export class HostAddresses {
  readonly #lookup: Lookup
  /** What was last found: an answer that fails to come changes nothing. */
  readonly #known = new Map<string, readonly string[]>()

  constructor(find: Lookup = systemLookup) {
    this.#lookup = find
  }

  membersOf(nodes: readonly ResolvedNode[]): readonly MemberAddresses[] {
    return nodes.map(({ name, host, port, sourceAddresses }) => ({
      name,
      host,
      port,
      addresses: [...(isIP(host) === 0 ? (this.#known.get(host) ?? [host]) : [host]), ...sourceAddresses],
    }))
  }

  /** One name after the other: each waits in a pool of few threads that file accesses need, too. */
  async refresh(nodes: readonly Pick<ResolvedNode, 'host'>[]): Promise<void> {
    for (const { host } of nodes) {
      if (isIP(host) !== 0) continue
      const found = await within(LOOKUP_DEADLINE_MS, this.#lookup(host)).catch(() => [])
      if (found.length > 0) this.#known.set(host, [...new Set(found)].sort())
    }
  }
}

async function systemLookup(host: string): Promise<readonly string[]> {
  return (await lookup(host, { all: true })).map(({ address }) => address)
}

function within<T>(deadlineMs: number, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('no answer in time')), deadlineMs)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}
