/**
 * Other people's programs go through the proxy as through a server: see test/clients/programs. Here each version has one mode, because they
 * take their time; `npm run test:clients` runs all of them with both, and prints a table.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CLIENT_PROGRAMS, whatIsMissing } from '../clients/catalog.ts'
import { runClientProgram } from '../clients/run-program.ts'
import { searchPathOf } from '../clients/search-path.ts'
import { ProxyFixture, type RunningProxy } from '../support/proxy-fixture.ts'

describe.each([
  [15, 'transaction'],
  [18, 'session'],
] as const)('other people’s programs on PostgreSQL %i in %s mode', (major, mode) => {
  let fixture: ProxyFixture
  let running: RunningProxy

  beforeAll(async () => {
    fixture = await ProxyFixture.start(major)
    running = await fixture.proxy({ defaultPoolSize: mode === 'session' ? 10 : 3, poolMode: mode })
  })
  afterAll(() => fixture?.stop())

  const searchPath = searchPathOf()
  const programs = CLIENT_PROGRAMS.filter(({ refusesNewer }) => refusesNewer !== true || major <= 15)
  for (const program of programs) {
    const missing = whatIsMissing(program, searchPath)
    const title = missing === null ? program.name : `${program.name} (${program.hint})`
    test.skipIf(missing !== null)(title, async () => {
      const { port, proxy, logged } = running
      const { checks, broke } = await runClientProgram(program, { port, mode, searchPath })
      expect(checks.filter(({ outcome }) => outcome !== 'ok')).toEqual([])
      expect(broke).toBe(null)
      expect(logged.filter((line) => line.includes('unforeseen'))).toEqual([])
      await expect.poll(() => proxy.counts.clients).toBe(0)
      expect(proxy.counts.waiting).toBe(0)
    })
  }
})
