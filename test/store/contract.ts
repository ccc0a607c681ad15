/**
 * What every store must do, whichever it is: the semantics that ports/store.ts promises, over the one client. Run against the embedded
 * store and against etcd; where they differ, one of them is wrong for us.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Store } from '../../src/ports/store.ts'
import { freshPrefix, put, texts, value } from './helpers.ts'
import { clientOf, type StoreServer } from './servers.ts'

export interface ContractSetup {
  readonly name: string
  start(): Promise<StoreServer>
}

export function storeContract(setup: ContractSetup): void {
  describe(`${setup.name}: keys and transactions`, () => {
    const subject = useServer(setup)
    transactionTests(subject)
    readTests(subject)
  })
  describe(`${setup.name}: leases`, () => leaseTests(useServer(setup)))
}

export interface Subject {
  readonly server: StoreServer
  readonly store: Store
}

/** One server and one client for a group of tests. */
export function useServer(setup: ContractSetup): Subject {
  let server: StoreServer | null = null
  let store: Store | null = null
  beforeAll(async () => {
    server = await setup.start()
    store = clientOf(server)
  })
  afterAll(async () => {
    store?.close()
    await server?.dispose()
  })
  const ready = <T>(part: T | null): T => {
    if (part === null) throw new Error('the server has not started')
    return part
  }
  return {
    get server() {
      return ready(server)
    },
    get store() {
      return ready(store)
    },
  }
}

function transactionTests(subject: Subject): void {
  test('a key is created once: the second who finds it absent was too late', async () => {
    const key = `${freshPrefix()}primacy`
    const create = (text: string) =>
      subject.store.transact({
        compare: [{ key, modRevision: 0n }],
        success: [{ op: 'put', key, value: text }],
        failure: [{ op: 'get', key }],
      })
    const first = value(await create('first'))
    const second = value(await create('second'))
    expect(first).toMatchObject({ succeeded: true, reads: [] })
    expect(second).toMatchObject({ succeeded: false, revision: first.revision })
    expect(second.reads).toMatchObject([{ key, value: 'first', modRevision: first.revision }])
  })

  test('a swap compares the revision, and a revision that has passed loses', async () => {
    const key = `${freshPrefix()}primacy`
    const swap = (modRevision: bigint, text: string) =>
      subject.store.transact({ compare: [{ key, modRevision }], success: [{ op: 'put', key, value: text }] })
    const one = await put(subject.store, key, 'one')
    const two = value(await swap(one, 'two'))
    expect(two.succeeded).toBe(true)
    expect(two.revision).toBe(one + 1n)
    expect(value(await swap(one, 'late')).succeeded).toBe(false)
    expect(value(await subject.store.get(key))).toMatchObject({
      value: 'two',
      createRevision: one,
      modRevision: two.revision,
      version: 2n,
      leaseId: 0n,
    })
  })

  test('a key that was deleted and created anew has another create revision', async () => {
    const key = `${freshPrefix()}claim`
    const created = await put(subject.store, key, 'mine')
    value(await subject.store.transact({ compare: [], success: [{ op: 'delete', key }] }))
    const again = await put(subject.store, key, 'theirs')
    const swap = (createRevision: bigint) =>
      subject.store.transact({ compare: [{ key, createRevision }], success: [{ op: 'delete', key }] })
    expect(value(await swap(created)).succeeded).toBe(false)
    expect(value(await swap(again)).succeeded).toBe(true)
    expect(value(await subject.store.get(key))).toBeNull()
  })

  test('of 20 who swap at once exactly one wins, in every round', async () => {
    const key = `${freshPrefix()}primacy`
    const clients = Array.from({ length: 20 }, () => clientOf(subject.server))
    let revision = 0n
    for (let round = 0; round < 5; round++) {
      const results = await Promise.all(
        clients.map((store, index) =>
          store.transact({
            compare: [{ key, modRevision: revision }],
            success: [{ op: 'put', key, value: `${round}.${index}` }],
          }),
        ),
      )
      const winners = results
        .map(value)
        .flatMap((result, index) => (result.succeeded ? [{ result, index }] : []))
      expect(winners).toHaveLength(1)
      const [winner] = winners
      revision = winner?.result.revision ?? 0n
      expect(value(await subject.store.get(key))?.value).toBe(`${round}.${winner?.index}`)
    }
    for (const client of clients) client.close()
  })

  test('everything in a transaction happens in one revision, or nothing of it', async () => {
    const prefix = freshPrefix()
    const before = await put(subject.store, `${prefix}old/a`, 'a')
    await put(subject.store, `${prefix}old/b`, 'b')
    await put(subject.store, `${prefix}old0`, 'a neighbour of the prefix')
    const result = value(
      await subject.store.transact({
        compare: [{ key: `${prefix}old/a`, modRevision: before }],
        success: [
          { op: 'deletePrefix', prefix: `${prefix}old/` },
          { op: 'put', key: `${prefix}new/a`, value: '1' },
          { op: 'put', key: `${prefix}new/b`, value: '2' },
        ],
      }),
    )
    const listing = value(await subject.store.list(prefix))
    expect(listing.revision).toBe(result.revision)
    expect(await texts(subject.store, prefix)).toEqual([
      'new/a=1',
      'new/b=2',
      'old0=a neighbour of the prefix',
    ])
    const changed = listing.entries.filter(({ key }) => key.includes('/new/'))
    expect(changed.map(({ modRevision }) => modRevision)).toEqual([result.revision, result.revision])
    value(
      await subject.store.transact({
        compare: [{ key: `${prefix}old/a`, modRevision: before }],
        success: [{ op: 'deletePrefix', prefix }],
      }),
    )
    expect(await texts(subject.store, prefix)).toHaveLength(3)
  })

  test('a transaction reads in order, sees its own writes, and tells what is absent', async () => {
    const prefix = freshPrefix()
    await put(subject.store, `${prefix}spec`, 'spec')
    const result = value(
      await subject.store.transact({
        compare: [],
        success: [
          { op: 'get', key: `${prefix}primacy` },
          { op: 'put', key: `${prefix}primacy`, value: 'written here' },
          { op: 'get', key: `${prefix}primacy` },
          { op: 'get', key: `${prefix}spec` },
        ],
      }),
    )
    expect(result.reads.map((read) => read?.value ?? null)).toEqual([null, 'written here', 'spec'])
    expect(result.reads[1]?.modRevision).toBe(result.revision)
  })
}

function readTests(subject: Subject): void {
  test('what was never written is absent, at a revision from which a watch can begin', async () => {
    const prefix = freshPrefix()
    expect(value(await subject.store.get(`${prefix}nothing`))).toBeNull()
    const listing = value(await subject.store.list(prefix))
    expect(listing.entries).toEqual([])
    expect(listing.revision).toBeGreaterThan(0n)
  })

  test('a listing is in the order of the keys’ bytes', async () => {
    const prefix = freshPrefix()
    for (const name of ['z', 'Z', 'ä', 'a', 'a/b', '𐍈', '~']) await put(subject.store, prefix + name, '')
    const names = value(await subject.store.list(prefix)).entries.map(({ key }) => key.slice(prefix.length))
    expect(names).toEqual(['Z', 'a', 'a/b', 'z', '~', 'ä', '𐍈'])
  })

  test('texts come back as they were: empty, with control characters, in any script', async () => {
    const prefix = freshPrefix()
    const values = ['', '{"reason":"Ausfall von „alpha“ – naïve 日本語 🐘"}', 'a\u0000b\r\n\t"\\', '\u2028']
    for (const [index, text] of values.entries()) await put(subject.store, `${prefix}ключ-${index}`, text)
    const entries = value(await subject.store.list(prefix)).entries
    expect(entries.map((entry) => entry.value)).toEqual(values)
    expect(entries.map((entry) => entry.key)).toEqual(values.map((_, index) => `${prefix}ключ-${index}`))
  })

  test('a document of a megabyte is kept; one that is too large is not, and does no harm', async () => {
    const prefix = freshPrefix()
    const large = 'é'.repeat(512 * 1024)
    await put(subject.store, `${prefix}large`, large)
    expect(value(await subject.store.get(`${prefix}large`))?.value).toBe(large)
    const tooLarge = await subject.store.transact({
      compare: [],
      success: [{ op: 'put', key: `${prefix}too-large`, value: 'x'.repeat(4 * 1024 * 1024) }],
    })
    expect(tooLarge.kind).not.toBe('ok')
    expect(value(await subject.store.get(`${prefix}too-large`))).toBeNull()
  })
}

function leaseTests(subject: Subject): void {
  test('keys go with their lease when it is revoked, in one revision, and others stay', async () => {
    const prefix = freshPrefix()
    const { leaseId } = value(await subject.store.grantLease(60_000))
    await put(subject.store, `${prefix}nodes/alpha`, 'bound', leaseId)
    await put(subject.store, `${prefix}nodes/bravo`, 'bound', leaseId)
    await put(subject.store, `${prefix}nodes/charlie`, 'bound once', leaseId)
    const last = await put(subject.store, `${prefix}nodes/charlie`, 'free again')
    expect(value(await subject.store.get(`${prefix}nodes/alpha`))?.leaseId).toBe(leaseId)
    expect(value(await subject.store.get(`${prefix}nodes/charlie`))?.leaseId).toBe(0n)
    value(await subject.store.revokeLease(leaseId))
    expect(await texts(subject.store, prefix)).toEqual(['nodes/charlie=free again'])
    expect(value(await subject.store.list(prefix)).revision).toBe(last + 1n)
  })

  test('a lease that nobody renews runs out, not before its time, and takes its keys along', async () => {
    const prefix = freshPrefix()
    const grant = value(await subject.store.grantLease(1_000))
    expect(grant.ttlMs).toBeGreaterThanOrEqual(1_000)
    await put(subject.store, `${prefix}nodes/alpha`, 'bound', grant.leaseId)
    let lastSeenAtMs = performance.now()
    while ((await texts(subject.store, prefix)).length > 0) {
      lastSeenAtMs = performance.now()
      expect(lastSeenAtMs - grant.sentAtMs).toBeLessThan(10_000)
      await sleep(20)
    }
    // `sentAtMs` is what a holder counts from: within its time, counted from there, nobody may find the key gone.
    expect(performance.now() - grant.sentAtMs).toBeGreaterThanOrEqual(grant.ttlMs)
    expect(value(await subject.store.renewLease(grant.leaseId))).toEqual({ alive: false })
  })

  test('a lease that is renewed lives on, and each renewal is counted from when it was sent', async () => {
    const prefix = freshPrefix()
    const grant = value(await subject.store.grantLease(1_500))
    await put(subject.store, `${prefix}nodes/alpha`, 'bound', grant.leaseId)
    for (let elapsedMs = 0; elapsedMs < 2 * grant.ttlMs; elapsedMs = performance.now() - grant.sentAtMs) {
      const beforeMs = performance.now()
      const renewal = value(await subject.store.renewLease(grant.leaseId))
      if (!renewal.alive) throw new Error('a lease that was renewed in time is gone')
      expect(renewal.ttlMs).toBe(grant.ttlMs)
      expect(renewal.sentAtMs).toBeGreaterThanOrEqual(beforeMs)
      expect(renewal.sentAtMs).toBeLessThanOrEqual(performance.now())
      await sleep(grant.ttlMs / 4)
    }
    expect(await texts(subject.store, prefix)).toEqual(['nodes/alpha=bound'])
    value(await subject.store.revokeLease(grant.leaseId))
  })

  test('what is unknown cannot be renewed or held, and revoking it is no error', async () => {
    const prefix = freshPrefix()
    const { leaseId } = value(await subject.store.grantLease(60_000))
    value(await subject.store.revokeLease(leaseId))
    expect(await subject.store.revokeLease(leaseId)).toEqual({ kind: 'ok', value: null })
    expect(await subject.store.renewLease(leaseId)).toEqual({ kind: 'ok', value: { alive: false } })
    expect(await subject.store.renewLease(4_711n)).toEqual({ kind: 'ok', value: { alive: false } })
    const bound = await subject.store.transact({
      compare: [],
      success: [
        { op: 'put', key: `${prefix}a`, value: 'must not be' },
        { op: 'put', key: `${prefix}b`, value: 'bound', leaseId },
      ],
    })
    expect(bound).toMatchObject({ kind: 'refused', code: 'lease-lost' })
    expect(await texts(subject.store, prefix)).toEqual([])
  })
}
