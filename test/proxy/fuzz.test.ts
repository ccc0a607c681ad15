/** A few seconds of what `npm run fuzz` does for hours. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Fuzzer } from '../fuzz/fuzzer.ts'
import { ProxyFixture } from '../support/proxy-fixture.ts'

const SECONDS = 4

describe.each([15, 18])('fuzzed, PostgreSQL %i', (major) => {
  let fixture: ProxyFixture

  beforeAll(async () => {
    fixture = await ProxyFixture.start(major)
    await fixture.sql('CREATE TABLE fuzzed (a int, b text); GRANT ALL ON fuzzed TO app')
  })
  afterAll(() => fixture?.stop())

  test('what comes through the proxy is what comes from the server, and nonsense harms nobody', async () => {
    const transaction = await fixture.proxy({ defaultPoolSize: 4 })
    const session = await fixture.proxy({ poolMode: 'session', defaultPoolSize: 20 })
    const proxies = { transaction: transaction.port, session: session.port }
    const seed = Math.floor(Math.random() * 2 ** 31)
    const fuzzer = new Fuzzer({ proxies, serverPort: fixture.server.port }, seed)
    await fuzzer.run(AbortSignal.timeout(SECONDS * 1_000))
    expect(fuzzer.findings, `seed ${seed}`).toEqual([])
    expect(fuzzer.counts.exchanges).toBeGreaterThan(0)
    expect(fuzzer.counts.witnessed).toBeGreaterThan(0)
    for (const { proxy, logged } of [transaction, session]) {
      await expect.poll(() => proxy.counts.clients + proxy.counts.logins, { timeout: 20_000 }).toBe(0)
      expect(proxy.counts.waiting).toBe(0)
      expect(logged.filter((line) => line.includes('unforeseen'))).toEqual([])
    }
  })
})
