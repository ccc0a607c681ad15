/** Prepared statements that come and go in transaction mode: thrown away in SQL, in pipelines, by others, and outdated by ALTER TABLE. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { query } from '../../src/protocol/frontend-messages.ts'
import { ProxyFixture, type RunningProxy } from '../support/proxy-fixture.ts'
import {
  bind,
  close,
  describe as describeMessage,
  execute,
  parse,
  shown,
  sync,
  type WireClient,
} from '../support/wire-client.ts'
import { clientsAt } from '../support/wire-clients.ts'

describe.each([15, 18])('prepared statements come and go, PostgreSQL %i', (major) => {
  let fixture: ProxyFixture
  let running: RunningProxy

  beforeAll(async () => {
    fixture = await ProxyFixture.start(major)
    running = await fixture.proxy({ defaultPoolSize: 1 })
  })
  afterAll(() => fixture?.stop())

  const login = clientsAt(() => running.port)
  const simple = (text: string): readonly Buffer[] => [query(text)]
  const extended = (text: string): readonly Buffer[] => [parse('', text), bind('', ''), execute(''), sync()]
  const use = (name: string): readonly Buffer[] => [bind('', name), execute(''), sync()]
  const pipelined = async (
    client: WireClient,
    ready: number,
    ...messages: readonly Buffer[]
  ): Promise<string> => {
    client.send(...messages)
    return shown(await client.until(ready))
  }

  test.each(['DISCARD ALL', 'DEALLOCATE ALL', 'deallocate prepare all;'])(
    '%s in a pipeline, before names that are given anew',
    async (everything) => {
      for (const how of [simple, extended]) {
        const client = await login()
        const tag = everything.startsWith('DISCARD') ? 'C(DISCARD ALL)' : 'C(DEALLOCATE ALL)'
        const thrown = how === simple ? `${tag} Z(I)` : `1 2 ${tag} Z(I)`
        const one = [parse('p', 'SELECT 1'), ...use('p')]
        expect(await pipelined(client, 1, ...one)).toBe('1 2 D(1) C(SELECT 1) Z(I)')
        // The same text, which the server has up to then, and another one under the same name.
        const again = [
          ...how(everything),
          ...one,
          ...how(everything),
          parse('p', 'SELECT 2'),
          ...use('p'),
          ...use('p'),
        ]
        expect(await pipelined(client, 5, ...again)).toBe(
          `${thrown} 1 2 D(1) C(SELECT 1) Z(I) ${thrown} 1 2 D(2) C(SELECT 1) Z(I) 2 D(2) C(SELECT 1) Z(I)`,
        )
        expect(await pipelined(client, 1, ...use('p')), 'what is behind it stays').toBe(
          '2 D(2) C(SELECT 1) Z(I)',
        )
        expect(await pipelined(client, 1, parse('p', 'SELECT 3'), sync())).toBe('E(42P05) Z(I)')
        client.close()
      }
    },
  )

  test('one that fails throws nothing away', async () => {
    const client = await login()
    await pipelined(client, 1, parse('p', 'SELECT 1'), sync())
    await client.ask('BEGIN')
    expect(await pipelined(client, 2, ...extended('DISCARD ALL'), ...use('p'))).toBe(
      '1 2 E(25001) Z(E) E(25P02) Z(E)',
    )
    await client.ask('ROLLBACK')
    expect(await pipelined(client, 1, ...use('p'))).toBe('2 D(1) C(SELECT 1) Z(I)')
  })

  test('DEALLOCATE of a name that was given by the protocol, simple and extended', async () => {
    const [client, other] = [await login(), await login()]
    for (const [name, written] of [
      ['_pg3_0', '_pg3_0'],
      ['lower', 'PREPARE LOWER ;'],
      ['It"s', '"It""s"'],
      ['größe', 'größe'],
    ] as const) {
      for (const [how, before] of [
        [simple, ''],
        [extended, '1 2 '],
      ] as const) {
        for (const each of [client, other]) await pipelined(each, 1, parse(name, 'SELECT 7'), sync())
        expect(await pipelined(client, 1, ...how(`DEALLOCATE ${written}`))).toBe(
          `${before}C(DEALLOCATE) Z(I)`,
        )
        expect(await pipelined(client, 1, ...use(name)), name).toBe('E(26000) Z(I)')
        expect(await pipelined(other, 1, ...use(name)), 'another client’s').toBe('2 D(7) C(SELECT 1) Z(I)')
        await pipelined(other, 1, close('S', name), sync())
      }
    }
    expect(await client.ask('DEALLOCATE nothing_like_it')).toBe('E(26000) Z(I)')
  })

  test('a DEALLOCATE that was not carried out took nothing', async () => {
    const client = await login()
    await pipelined(client, 1, parse('p', 'SELECT 8'), sync())
    await client.ask('BEGIN; SELECT 1/0')
    for (const how of [simple, extended])
      expect(await pipelined(client, 1, ...how('DEALLOCATE p'))).toBe('E(25P02) Z(E)')
    await client.ask('ROLLBACK')
    const skipped = [parse('', 'no statement'), ...extended('DEALLOCATE p')]
    expect(await pipelined(client, 1, ...skipped)).toBe('E(42601) Z(I)')
    expect(await pipelined(client, 1, ...use('p'))).toBe('2 D(8) C(SELECT 1) Z(I)')
    expect(await client.ask('BEGIN; PREPARE in_sql AS SELECT 1; DEALLOCATE in_sql; COMMIT')).toBe(
      'C(BEGIN) C(PREPARE) C(DEALLOCATE) C(COMMIT) Z(I)',
    )
  })

  test('a table that was altered: the error of the server once, and whoever prepares it again has the new one', async () => {
    const two = await fixture.proxy({ defaultPoolSize: 2 })
    const [client, other] = [await login(two.port), await login(two.port)]
    await client.ask('CREATE TABLE altered (a int)')
    const again = [parse('p', 'SELECT * FROM altered'), describeMessage('S', 'p')]
    // On both servers.
    await other.ask('BEGIN')
    for (const each of [client, other]) await pipelined(each, 1, ...again, ...use('p'))
    await other.ask('COMMIT')
    await client.ask('ALTER TABLE altered ADD b int')
    expect(await pipelined(client, 1, ...use('p'))).toBe('E(0A000) Z(I)')
    for (let i = 0; i < 2; i++) {
      const closed = [close('S', 'p'), ...again, ...use('p')]
      expect(await pipelined(client, 1, ...closed)).toBe('3 1 t T 2 C(SELECT 0) Z(I)')
      await other.ask('BEGIN')
    }
    await other.ask('COMMIT; DROP TABLE altered')
  })

  test('what a function throws away is prepared again, after one error', async () => {
    const [client, other] = [await login(), await login()]
    await pipelined(client, 1, parse('p', 'SELECT 9'), sync())
    expect(await other.ask("DO $$ BEGIN EXECUTE 'DEALLOC' || 'ATE ALL'; END $$")).toBe('C(DO) Z(I)')
    expect(await pipelined(client, 1, ...use('p'))).toBe('E(26000) Z(I)')
    expect(await pipelined(client, 1, ...use('p'))).toBe('2 D(9) C(SELECT 1) Z(I)')
  })
})
