/**
 * Looks up how a role logs in, for the proxy, in any node that answers: through a function that shows nothing else, as a role that may do
 * nothing else (roles.ts). The name travels as a value, and no search_path of anybody has a say.
 */
import { Client } from 'pg'
import type { LoginLookup, Logins, RoutedNode } from '../ports/proxy.ts'
import { AGENT_DATABASE, PROXY_ROLE } from './layout.ts'

export interface LoginsOptions {
  /** In the order in which they are asked; asked again each time, for the primary changes. */
  readonly nodes: () => readonly (RoutedNode & { readonly socketDirectory?: string | undefined })[]
  /** Asked for each new connection: it may have been changed. */
  readonly password: () => Promise<string>
  readonly caPem: string
  readonly nowMs: () => number
}

/** A storm of logins asks once; a role that was changed is looked at again after this. */
const CACHED_MS = 2_000
const MAX_CACHED = 1_000
const CONNECT_TIMEOUT_MS = 2_000
const QUERY_TIMEOUT_MS = 3_000

interface Cached {
  readonly lookup: Promise<LoginLookup>
  readonly untilMs: number
}

export class PostgresLogins implements Logins {
  readonly #options: LoginsOptions
  readonly #cache = new Map<string, Cached>()
  #client: Client | null = null
  #connecting: Promise<Client> | null = null

  constructor(options: LoginsOptions) {
    this.#options = options
  }

  lookUp(role: string): Promise<LoginLookup> {
    const now = this.#options.nowMs()
    const known = this.#cache.get(role)
    if (known !== undefined && known.untilMs > now) return known.lookup
    if (this.#cache.size >= MAX_CACHED) this.#cache.clear()
    const lookup = this.#ask(role)
    this.#cache.set(role, { lookup, untilMs: now + CACHED_MS })
    void lookup.then((answer) => {
      if (answer.kind === 'unavailable') this.#cache.delete(role)
    })
    return lookup
  }

  close(): void {
    const client = this.#client
    this.#client = null
    client?.end().catch(() => undefined)
  }

  async #ask(role: string): Promise<LoginLookup> {
    let reason = 'no node is known'
    for (let attempt = 0; attempt < 2; attempt++) {
      try {
        const client = await this.#connected()
        const answer = await client.query<{ verifier: string | null; found: boolean }>({
          name: 'login',
          text: 'SELECT found, verifier FROM understudy.login($1::pg_catalog.text)',
          values: [role],
        })
        const row = answer.rows[0]
        return row?.found === true ? { kind: 'found', verifier: row.verifier } : { kind: 'unknown' }
      } catch (error) {
        reason = error instanceof Error ? error.message : String(error)
        this.close()
      }
    }
    return { kind: 'unavailable', reason }
  }

  #connected(): Promise<Client> {
    if (this.#client !== null) return Promise.resolve(this.#client)
    this.#connecting ??= this.#connectAny().finally(() => {
      this.#connecting = null
    })
    return this.#connecting
  }

  async #connectAny(): Promise<Client> {
    let last: unknown = new Error('no node is known')
    for (const node of this.#options.nodes()) {
      try {
        return await this.#connect(node)
      } catch (error) {
        last = error
      }
    }
    throw last
  }

  async #connect(node: RoutedNode & { readonly socketDirectory?: string | undefined }): Promise<Client> {
    const { caPem } = this.#options
    const client = new Client({
      host: node.socketDirectory ?? node.host,
      port: node.port,
      user: PROXY_ROLE,
      database: AGENT_DATABASE,
      password: this.#options.password,
      ssl: node.socketDirectory === undefined ? { ca: caPem } : false,
      application_name: 'understudy proxy',
      options: '-c search_path=pg_catalog -c default_transaction_read_only=on -c statement_timeout=3000',
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      query_timeout: QUERY_TIMEOUT_MS,
      keepAlive: true,
    })
    const lost = (): void => {
      if (this.#client === client) this.#client = null
    }
    client.on('error', lost)
    client.on('end', lost)
    await client.connect()
    this.#client = client
    return client
  }
}
