/** Reads over the ports `auto` and `read-only` (docs/proxy.md, "Reads"): where they go, and that nobody misses what he wrote. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { ReadsFixture, type ReadsProxy } from '../support/reads-fixture.ts'
import { bind, execute, parse, shown, sync, WireClient } from '../support/wire-client.ts'

const WHERE = 'SELECT pg_is_in_recovery()'

describe.each([15, 18])('reads, PostgreSQL %i', (major) => {
  let fixture: ReadsFixture
  let running: ReadsProxy
  const clients: WireClient[] = []

  beforeAll(async () => {
    fixture = await ReadsFixture.start(major)
    await fixture.sql('CREATE TABLE written (a int); GRANT ALL ON written TO app')
    running = await fixture.proxy()
  })
  afterEach(() => {
    for (const client of clients.splice(0)) client.close()
  })
  afterAll(() => fixture?.stop())

  const login = async (port: number): Promise<WireClient> => {
    const client = await WireClient.login({ port })
    clients.push(client)
    return client
  }

  test('go to standbys on the port auto, and everything else to the primary', async () => {
    const client = await login(running.auto)
    expect(await client.ask(WHERE)).toBe('T D(t) C(SELECT 1) Z(I)')
    expect(await client.ask('INSERT INTO written VALUES (1)')).toBe('C(INSERT 0 1) Z(I)')
    expect(await client.ask('SELECT count(*), pg_is_in_recovery() FROM written')).toBe(
      'T D(1,t) C(SELECT 1) Z(I)',
    )
    client.send(parse('r', WHERE), bind('', 'r'), execute(''), sync())
    expect(shown(await client.until())).toBe('1 2 D(t) C(SELECT 1) Z(I)')
    expect(await client.ask('BEGIN')).toBe('C(BEGIN) Z(T)')
    expect(await client.ask(WHERE)).toBe('T D(f) C(SELECT 1) Z(T)')
    expect(await client.ask('COMMIT')).toBe('C(COMMIT) Z(I)')
    expect(await client.ask('BEGIN READ ONLY')).toBe('C(BEGIN) Z(T)')
    expect(await client.ask(WHERE)).toBe('T D(t) C(SELECT 1) Z(T)')
    expect(await client.ask('COMMIT')).toBe('C(COMMIT) Z(I)')
  })
})
