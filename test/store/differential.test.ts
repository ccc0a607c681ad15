/**
 * The same random requests to etcd and to the embedded store, compared answer by answer: what the contract does not think of. Fields that
 * must differ (ids, terms, times, sizes) are taken out first.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { chooseSeed, post, seeded } from './helpers.ts'
import { ETCD_MISSING, type StoreServer, startEmbeddedServer, startEtcd } from './servers.ts'

const REQUESTS = 1_200
/** A key that no request uses, behind all others. */
const MARKER = Buffer.from('z').toString('base64')

describe.skipIf(ETCD_MISSING !== null)(
  `etcd and the embedded store${ETCD_MISSING === null ? '' : ` (skipped: ${ETCD_MISSING})`}`,
  () => {
    let etcd: StoreServer | null = null
    let embedded: StoreServer | null = null
    beforeAll(async () => {
      etcd = await startEtcd()
      embedded = await startEmbeddedServer()
    })
    afterAll(async () => {
      await etcd?.dispose()
      await embedded?.dispose()
    })

    test(`answer ${REQUESTS} random requests alike`, async () => {
      if (etcd === null || embedded === null) throw new Error('no servers')
      const random = seeded(chooseSeed('differential'))
      const generate = new Generator(random)
      let compacted = 0
      for (let number = 0; number < REQUESTS; number++) {
        const { path, body } = generate.request()
        const [theirs, ours] = await Promise.all([post(etcd, path, body), post(embedded, path, body)])
        const context = `request ${number}: ${path} ${JSON.stringify(body)}\netcd: ${theirs.text}\nours: ${ours.text}`
        expect(ours.status, context).toBe(theirs.status)
        expect(comparable(ours.text), context).toEqual(comparable(theirs.text))
        generate.revision = Number(/"revision":"(\d+)"/.exec(theirs.text)?.[1] ?? generate.revision)
        if (path === '/v3/kv/compaction' && theirs.status === 200) {
          compacted = Number((body as { readonly revision: string }).revision)
        }
      }
      const marker = { key: MARKER }
      await Promise.all([post(etcd, '/v3/kv/put', marker), post(embedded, '/v3/kv/put', marker)])
      const [theirs, ours] = await Promise.all([events(etcd, compacted + 1), events(embedded, compacted + 1)])
      expect(theirs.length).toBeGreaterThan(1)
      expect(ours).toEqual(theirs)
    }, 60_000)
  },
)

/** The answer without what belongs to one server. The order of fields stays: byte for byte otherwise. */
function comparable(text: string): string {
  return (
    text
      .trim()
      .replace(/Grpc-Trailer.*$/s, '')
      .trim()
      .replace(/"cluster_id":"\d+","member_id":"\d+",("revision":"\d+",)?"raft_term":"\d+"/g, '$1')
      .replace(/"TTL":"(\d+)","grantedTTL"/g, '"TTL":"?","grantedTTL"')
      // etcd lists the keys of a lease in any order.
      .replace(/"keys":\[(.*?)\]/g, (_, keys: string) => `"keys":[${keys.split(',').sort().join(',')}]`)
  )
}

/** Every event from this revision to the marker that was put last, as it stood in the frames. */
async function events(server: StoreServer, from: number): Promise<readonly string[]> {
  const everything = Buffer.from([0]).toString('base64')
  const creation = { key: everything, range_end: everything, start_revision: String(from) }
  const credentials = server.credentials as { readonly token?: string }
  const response = await fetch(`${server.url}/v3/watch`, {
    method: 'POST',
    headers: credentials.token === undefined ? {} : { authorization: credentials.token },
    body: JSON.stringify({ create_request: creation }),
    signal: AbortSignal.timeout(10_000),
  })
  let text = ''
  for await (const chunk of response.body ?? []) {
    text += Buffer.from(chunk).toString()
    if (text.includes(MARKER) && text.endsWith('\n')) break
  }
  return text
    .trim()
    .split('\n')
    .flatMap((line) => (JSON.parse(line) as { result: { events?: unknown[] } }).result.events ?? [])
    .map((event) => JSON.stringify(event))
}

class Generator {
  revision = 1
  readonly #random: () => number

  constructor(random: () => number) {
    this.#random = random
  }

  request(): { readonly path: string; readonly body: unknown } {
    const kind = this.#random()
    if (kind < 0.15) return { path: '/v3/kv/put', body: this.#put() }
    if (kind < 0.3) return { path: '/v3/kv/range', body: { ...this.#range(), ...this.#rangeOptions() } }
    if (kind < 0.4) return { path: '/v3/kv/deleterange', body: this.#range() }
    if (kind < 0.8) return { path: '/v3/kv/txn', body: this.#txn() }
    if (kind < 0.82)
      return { path: '/v3/kv/compaction', body: { revision: String(Math.max(1, this.#revision())) } }
    const lease = { ID: this.#lease() }
    if (kind < 0.88) return { path: '/v3/lease/grant', body: { ...lease, TTL: '100' } }
    if (kind < 0.91) return { path: '/v3/lease/revoke', body: lease }
    if (kind < 0.96) return { path: '/v3/lease/keepalive', body: lease }
    return { path: '/v3/lease/timetolive', body: { ...lease, keys: true } }
  }

  #txn(): unknown {
    return {
      compare: this.#some(2, () => this.#compare()),
      success: this.#some(4, () => this.#operation()),
      failure: this.#some(3, () => this.#operation()),
    }
  }

  #compare(): unknown {
    const [target, field] = this.#pick([
      ['MOD', 'mod_revision'],
      ['CREATE', 'create_revision'],
      ['VERSION', 'version'],
      ['LEASE', 'lease'],
      ['VALUE', 'value'],
    ] as const)
    const operand =
      target === 'VALUE'
        ? this.#bytes()
        : target === 'LEASE'
          ? this.#pick(['0', '71'])
          : String(this.#revision())
    const result = this.#pick(['EQUAL', 'GREATER', 'LESS', 'NOT_EQUAL'])
    const small = target === 'VERSION' ? this.#pick(['0', '1', '2']) : operand
    return { key: this.#key(), target, result, [field]: small }
  }

  #operation(): unknown {
    const kind = this.#random()
    if (kind < 0.45) return { request_put: this.#put() }
    if (kind < 0.75) return { request_range: this.#range() }
    // Ranges without end are left out here: etcd does not see that they overlap with a put (3.4), and we refuse that.
    return { request_delete_range: this.#range(['', '', 'a0', 'b']) }
  }

  #put(): unknown {
    const lease = this.#random() < 0.2 ? { lease: this.#lease() } : {}
    return { key: this.#key(), value: this.#bytes(), ...lease }
  }

  #range(ends: readonly string[] = ['', '', '', 'a0', 'b', '\0']): Record<string, unknown> {
    const end = this.#pick(ends)
    return { key: this.#key(), ...(end === '' ? {} : { range_end: Buffer.from(end).toString('base64') }) }
  }

  #rangeOptions(): Record<string, unknown> {
    const kind = this.#random()
    if (kind < 0.2) return { limit: '2' }
    if (kind < 0.3) return { count_only: true }
    if (kind < 0.4) return { keys_only: true }
    return kind < 0.7 ? { revision: String(this.#revision()) } : {}
  }

  #key(): string {
    return Buffer.from(this.#pick(['a', 'a/1', 'a/2', 'a/é', 'b', 'b/\xff'])).toString('base64')
  }

  #bytes(): string {
    return Buffer.from(this.#pick(['', 'x', 'xy', 'ÿ'])).toString('base64')
  }

  #lease(): string {
    return this.#pick(['71', '72', '73'])
  }

  #revision(): number {
    return Math.max(0, this.revision + 1 - Math.floor(this.#random() * 12))
  }

  #some<T>(most: number, make: () => T): readonly T[] {
    return Array.from({ length: Math.floor(this.#random() * (most + 1)) }, make)
  }

  #pick<const T>(choices: readonly T[]): T {
    const choice = choices[Math.floor(this.#random() * choices.length)]
    if (choice === undefined) throw new RangeError('nothing to choose from')
    return choice
  }
}
