/** Other people's programs go through the proxy as through a server: see test/clients/programs, and `npm run test:clients` for a table. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CLIENT_PROGRAMS, whatIsMissing } from '../clients/catalog.ts'
import { runClientProgram } from '../clients/run-program.ts'
import { searchPathOf } from '../clients/search-path.ts'
import { ProxyFixture, type RunningProxy } from '../support/proxy-fixture.ts'

describe.each([15, 18])('other people’s programs on PostgreSQL %i', (major) => {
  let fixture: ProxyFixture
  let proxies: Record<'session' | 'transaction', RunningProxy>

  beforeAll(async () => {
    fixture = await ProxyFixture.start(major)
    proxies = {
      transaction: await fixture.proxy({ defaultPoolSize: 3 }),
      session: await fixture.proxy({ defaultPoolSize: 10, poolMode: 'session' }),
    }
  })
  afterAll(() => fixture?.stop())

  const searchPath = searchPathOf()
  const programs = CLIENT_PROGRAMS.filter(({ refusesNewer }) => refusesNewer !== true || major <= 15)
  for (const program of programs) {
    const missing = whatIsMissing(program, searchPath)
    const title = missing === null ? program.name : `${program.name} (${program.hint})`
    test.skipIf(missing !== null).each(['transaction', 'session'] as const)(
      `${title} in %s mode`,
      async (mode) => {
        const { port, proxy, logged } = proxies[mode]
        const { checks, broke } = await runClientProgram(program, { port, mode, searchPath })
        expect(checks.filter(({ outcome }) => outcome !== 'ok')).toEqual([])
        expect(broke).toBe(null)
        expect(logged.filter((line) => line.includes('unforeseen'))).toEqual([])
        await expect.poll(() => proxy.counts.clients).toBe(0)
        expect(proxy.counts.waiting).toBe(0)
      },
    )
  }
})
