/** The contract, second part: watches, and a server that goes away in the middle of everything. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type ContractSetup, type Subject, useServer } from './contract.ts'
import { eventually, freshPrefix, post, put, Recorder, texts, until, value } from './helpers.ts'
import { clientOf } from './servers.ts'

export function watchContract(setup: ContractSetup): void {
  describe(`${setup.name}: watches`, () => watchTests(useServer(setup)))
  describe(`${setup.name}: a server that is killed and comes back`, () => restartTests(useServer(setup)))
}

/** Watches of one test, ended after it. */
function useWatches(): () => AbortSignal {
  let ended = new AbortController()
  beforeEach(() => {
    ended = new AbortController()
  })
  afterEach(() => ended.abort())
  return () => ended.signal
}

function watchTests(subject: Subject): void {
  const signal = useWatches()

  test('what happens under the prefix is told in order, a revision at a time, and nothing else is', async () => {
    const prefix = freshPrefix()
    const { revision } = value(await subject.store.list(prefix))
    const recorder = new Recorder()
    subject.store.watch(prefix, revision + 1n, recorder, signal())
    await put(subject.store, `${prefix}a`, '1')
    await put(subject.store, `${prefix.slice(0, -1)}0`, 'beside the prefix')
    const swapped = value(
      await subject.store.transact({
        compare: [],
        success: [
          { op: 'put', key: `${prefix}b`, value: '' },
          { op: 'delete', key: `${prefix}a` },
        ],
      }),
    )
    await put(subject.store, `${prefix}c`, '3')
    await until('the last event', () => recorder.seen(prefix).includes('c=3'))
    expect(recorder.seen(prefix)).toEqual(['a=1', 'b=', 'a', 'c=3'])
    const together = recorder.batches.flat().filter(({ modRevision }) => modRevision === swapped.revision)
    expect(together.map(({ type, value: text }) => [type, text])).toEqual([
      ['put', ''],
      ['delete', null],
    ])
    expect(recorder.gaps).toEqual([])
  })

  test('a watch from a revision of the past begins with what was missed', async () => {
    const prefix = freshPrefix()
    const first = await put(subject.store, `${prefix}a`, '1')
    await put(subject.store, `${prefix}a`, '2')
    await put(subject.store, `${prefix}b`, '3')
    const recorder = new Recorder()
    subject.store.watch(prefix, first + 1n, recorder, signal())
    await until('what was missed', () => recorder.seen(prefix).length === 2)
    await put(subject.store, `${prefix}c`, '4')
    await until('what is new', () => recorder.seen(prefix).length === 3)
    expect(recorder.seen(prefix)).toEqual(['a=2', 'b=3', 'c=4'])
  })

  test('a watch from 0 begins now', async () => {
    const prefix = freshPrefix()
    await put(subject.store, `${prefix}before`, '1')
    const recorder = new Recorder()
    subject.store.watch(prefix, 0n, recorder, signal())
    let count = 0
    await until('any event', async () => {
      await put(subject.store, `${prefix}after`, String(++count))
      return recorder.seen(prefix).length > 0
    })
    expect(recorder.seen(prefix)).not.toContain('before=1')
  })

  test('a revision that was compacted away is a gap, and the watch goes on behind it', async () => {
    const prefix = freshPrefix()
    const first = await put(subject.store, `${prefix}a`, '1')
    const last = await put(subject.store, `${prefix}a`, '2')
    const compacted = await post(subject.server, '/v3/kv/compaction', { revision: String(last) })
    expect(compacted.status).toBe(200)
    const recorder = new Recorder()
    subject.store.watch(prefix, first, recorder, signal())
    await until('the gap', () => recorder.gaps.length > 0)
    await put(subject.store, `${prefix}b`, '3')
    await until('what came after the gap', () => recorder.seen(prefix).includes('b=3'))
    expect(recorder.gaps).toHaveLength(1)
  })

  test('keys that go with their lease are told as deleted, in one revision', async () => {
    const prefix = freshPrefix()
    const { leaseId } = value(await subject.store.grantLease(1_000))
    await put(subject.store, `${prefix}nodes/alpha`, '1', leaseId)
    const bound = await put(subject.store, `${prefix}nodes/bravo`, '2', leaseId)
    const recorder = new Recorder()
    subject.store.watch(prefix, bound + 1n, recorder, signal())
    await until('both deletes', () => recorder.seen(prefix).length === 2)
    const events = recorder.batches.flat()
    expect(events.map(({ type }) => type)).toEqual(['delete', 'delete'])
    expect(events[0]?.modRevision).toBe(events[1]?.modRevision)
  })

  test('nothing is told after the signal, or after the client is closed', async () => {
    const prefix = freshPrefix()
    const store = clientOf(subject.server)
    const [aborted, closed, witness] = [new Recorder(), new Recorder(), new Recorder()]
    const own = new AbortController()
    const { revision } = value(await store.list(prefix))
    subject.store.watch(prefix, revision + 1n, aborted, own.signal)
    store.watch(prefix, revision + 1n, closed, signal())
    subject.store.watch(prefix, revision + 1n, witness, signal())
    await put(subject.store, `${prefix}a`, '1')
    await until('all three', () => [aborted, closed, witness].every((one) => one.batches.length === 1))
    own.abort()
    store.close()
    await put(subject.store, `${prefix}b`, '2')
    await until('the witness', () => witness.batches.length === 2)
    expect(aborted.batches).toHaveLength(1)
    expect(closed.batches).toHaveLength(1)
    expect(await store.get(prefix)).toMatchObject({ kind: 'unavailable' })
    store.close()
  })
}

function restartTests(subject: Subject): void {
  const signal = useWatches()

  test('nothing that was acknowledged is lost, and revisions go on', async () => {
    const prefix = freshPrefix()
    await put(subject.store, `${prefix}a`, '1')
    const last = await put(subject.store, `${prefix}a`, '2')
    const before = value(await subject.store.list(prefix))
    await subject.server.kill()
    expect(await subject.store.list(prefix)).toMatchObject({ kind: 'unavailable' })
    await subject.server.start()
    expect(await eventually(() => subject.store.list(prefix))).toEqual(before)
    expect(await put(subject.store, `${prefix}b`, '3')).toBe(last + 1n)
  })

  test('leases are still there, have their full time again, and end with their keys', async () => {
    const prefix = freshPrefix()
    const kept = value(await subject.store.grantLease(2_000))
    const left = value(await subject.store.grantLease(2_000))
    await put(subject.store, `${prefix}kept`, '', kept.leaseId)
    await put(subject.store, `${prefix}left`, '', left.leaseId)
    await subject.server.kill()
    const restartedAtMs = performance.now()
    await subject.server.start()
    await eventually(() => subject.store.get(prefix))
    expect(value(await subject.store.renewLease(kept.leaseId)).alive).toBe(true)
    await until('the end of the lease that nobody renews', async () => {
      expect(value(await subject.store.renewLease(kept.leaseId)).alive).toBe(true)
      return (await texts(subject.store, prefix)).length === 1
    })
    expect(await texts(subject.store, prefix)).toEqual(['kept='])
    expect(performance.now() - restartedAtMs).toBeGreaterThanOrEqual(2_000)
  })

  test('a watch resumes where it was: nothing is missed and nothing is told twice', async () => {
    const prefix = freshPrefix()
    const { revision } = value(await subject.store.list(prefix))
    const recorder = new Recorder()
    subject.store.watch(prefix, revision + 1n, recorder, signal())
    await put(subject.store, `${prefix}a`, '1')
    await until('the first event', () => recorder.batches.length === 1)
    await subject.server.kill()
    await subject.server.start()
    // Written by another client before the watch can have come back.
    const other = clientOf(subject.server)
    await eventually(() => other.get(prefix))
    for (const name of ['b', 'c', 'd']) await put(other, prefix + name, '2')
    await until('the last event', () => recorder.seen(prefix).includes('d=2'))
    expect(recorder.seen(prefix)).toEqual(['a=1', 'b=2', 'c=2', 'd=2'])
    expect(recorder.gaps).toEqual([])
    other.close()
  })
}
