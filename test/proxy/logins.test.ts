/** From the first byte to the session: encryption, negotiation, passwords, and the limits before anybody is known. */
import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { query, sslRequest, startupMessage } from '../../src/protocol/frontend-messages.ts'
import { ProxyFixture, type RunningProxy } from '../support/proxy-fixture.ts'
import { sendCancelTo, shown, WireClient, WireError } from '../support/wire-client.ts'

const GSS_REQUEST = Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30])

async function refusal(login: Promise<unknown>): Promise<string> {
  const error = await login.then(
    () => null,
    (reason: unknown) => reason,
  )
  if (error instanceof WireError) return `${error.fields.severity} ${error.fields.code}`
  return error === null ? 'ok' : String(error)
}

describe.each([15, 18])('logins on PostgreSQL %i', (major) => {
  let fixture: ProxyFixture
  let running: RunningProxy

  beforeAll(async () => {
    fixture = await ProxyFixture.start(major)
    running = await fixture.proxy()
  })
  afterAll(() => fixture?.stop())

  test('with and without TLS, and the greeting of the server itself', async () => {
    for (const tls of [false, true]) {
      const client = await WireClient.login({
        port: running.port,
        tls,
        parameters: { application_name: 'me' },
      })
      expect(client.parameters.get('server_version')).toMatch(new RegExp(`^${major}\\.`))
      expect(client.parameters.get('application_name')).toBe('me')
      expect(client.parameters.get('in_hot_standby')).toBe('off')
      expect(client.processId).toBeGreaterThan(0)
      expect(await client.ask('SELECT current_user')).toContain('D(app)')
      client.close()
    }
  })

  test('who is not let in', async () => {
    const attempt = (options: Partial<Parameters<typeof WireClient.login>[0]>): Promise<string> =>
      refusal(WireClient.login({ port: running.port, ...options }))
    await fixture.server.sql("SET password_encryption = 'md5'; CREATE ROLE old LOGIN PASSWORD 'secret'")
    await fixture.server.sql('CREATE ROLE nobody; CREATE ROLE without LOGIN')
    expect(await attempt({ password: 'wrong' })).toBe('FATAL 28P01')
    for (const user of ['missing', 'nobody', 'without', 'old'])
      expect(await attempt({ user }), user).toBe('FATAL 28P01')
    expect(running.logged.filter((line) => line.includes('no SCRAM-SHA-256 password'))).toHaveLength(2)
    expect(await attempt({ database: 'missing' })).toBe('FATAL 3D000')
    expect(await attempt({ user: 'other', password: 'secret2' })).toBe('ok')
    expect(await attempt({ parameters: { replication: 'true' } })).toBe('FATAL 0A000')
    expect(await attempt({ parameters: { replication: 'database' } })).toBe('FATAL 0A000')
    expect(await attempt({ parameters: { replication: 'off' } })).toBe('ok')
  })

  test('a password that was changed: the new one works, the old one does not', async () => {
    await fixture.server.sql("CREATE ROLE changing LOGIN PASSWORD 'one'")
    const first = await WireClient.login({ port: running.port, user: 'changing', password: 'one' })
    expect(await first.ask('SELECT 1')).toContain('D(1)')
    await fixture.server.sql("ALTER ROLE changing PASSWORD 'two'")
    expect(await refusal(WireClient.login({ port: running.port, user: 'changing', password: 'one' }))).toBe(
      'FATAL 28P01',
    )
    const second = await WireClient.login({ port: running.port, user: 'changing', password: 'two' })
    expect(await second.ask('SELECT 1')).toContain('D(1)')
    first.close()
    second.close()
  })

  test('GSS encryption is declined, and TLS asked for on the same connection after it', async () => {
    const socket = connect(running.port, '127.0.0.1')
    socket.write(GSS_REQUEST)
    expect((await new Promise<Buffer>((resolve) => socket.once('data', resolve))).toString()).toBe('N')
    socket.write(sslRequest())
    expect((await new Promise<Buffer>((resolve) => socket.once('data', resolve))).toString()).toBe('S')
    socket.destroy()
  })

  test('bytes before TLS has begun are refused', async () => {
    const client = await WireClient.open(running.port)
    client.send(sslRequest(), startupMessage({ user: 'app' }))
    expect(shown([await client.next()])).toBe('E(08P01)')
    await client.ended()
  })

  test('a newer protocol and unknown options are negotiated, once, and by name', async () => {
    const startup = (version: number, options: string): Buffer => {
      const body = Buffer.from(`user\0app\0database\0app\0${options}\0`, 'latin1')
      const bytes = Buffer.concat([Buffer.alloc(8), body])
      bytes.writeInt32BE(bytes.length, 0)
      bytes.writeInt32BE(version, 4)
      return bytes
    }
    for (const [version, options, expected] of [
      [
        0x0003270f,
        '_pq_.one\0x\0_pq_.two\0y\0',
        Buffer.from('\0\x03\0\x02\0\0\0\x02_pq_.one\0_pq_.two\0', 'latin1'),
      ],
      [0x00030000, '_pq_.one\0x\0', Buffer.from('\0\x03\0\0\0\0\0\x01_pq_.one\0', 'latin1')],
    ] as const) {
      const client = await WireClient.open(running.port)
      client.send(startup(version, options))
      const first = await client.next()
      expect([first.type, first.body]).toEqual(['v', expected])
      await client.authenticate('secret')
      expect(client.secretKey).toHaveLength(version === 0x00030000 ? 4 : 32)
      expect(await client.ask('SELECT 1')).toContain('D(1)')
      client.close()
    }
    for (const [version, bytes] of [
      [0x00030000, 4],
      [0x00030001, 4],
      [0x00030002, 32],
    ] as const) {
      const client = await WireClient.login({ port: running.port, startup: startup(version, '') })
      expect(client.secretKey, 'what is spoken needs no negotiation').toHaveLength(bytes)
      client.send(query('SELECT pg_sleep(60)'))
      await new Promise((resolve) => setTimeout(resolve, 100))
      await sendCancelTo(running.port, client.processId, client.secretKey)
      expect(shown(await client.until())).toMatch(/^(T )?E\(57014\) Z\(I\)$/)
      client.close()
    }
    const old = await WireClient.open(running.port)
    old.send(startup(0x00020000, ''))
    expect(shown([await old.next()])).toBe('E(08P01)')
  })

  test('TLS can be required', async () => {
    const strict = await fixture.proxy({ clientTls: 'require' })
    expect(await refusal(WireClient.login({ port: strict.port }))).toBe('FATAL 28000')
    expect(await refusal(WireClient.login({ port: strict.port, tls: true }))).toBe('ok')
  })

  test('a login that takes too long, too many of them, and too many clients', async () => {
    const small = await fixture.proxy({ loginTimeoutMs: 1_000, maxLogins: 2, maxClients: 3 })
    const slow = [await WireClient.open(small.port), await WireClient.open(small.port)]
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(await refusal(WireClient.login({ port: small.port }))).toBe('FATAL 53300')
    for (const client of slow) {
      expect(shown([await client.next()])).toBe('E(57P05)')
      await client.ended()
    }
    const clients = []
    for (let i = 0; i < 3; i++) clients.push(await WireClient.login({ port: small.port }))
    expect(await refusal(WireClient.login({ port: small.port }))).toBe('FATAL 53300')
    clients[0]?.close()
    await clients[0]?.ended()
    expect(await refusal(WireClient.login({ port: small.port }))).toBe('ok')
  })

  test('garbage of every kind ends its own connection and nothing else', async () => {
    const witness = await WireClient.login({ port: running.port })
    const random = seeded(major)
    for (let i = 0; i < 60; i++) {
      const client =
        i % 3 === 0 ? await WireClient.login({ port: running.port }) : await WireClient.open(running.port)
      const bytes = Buffer.from(Array.from({ length: 1 + random(400) }, () => random(256)))
      if (i % 2 === 0) bytes[0] = 'QPBEDSCHdcfFXp'.charCodeAt(random(14))
      if (i % 4 === 0 && bytes.length > 5) bytes.writeInt32BE(random(60), 1)
      client.send(bytes)
      if (i % 5 === 0) await new Promise((resolve) => setTimeout(resolve, 5))
      client.socket.destroy()
    }
    for (const length of [0, 3, -1, 0x7fffffff]) {
      const client = await WireClient.login({ port: running.port })
      const header = query('SELECT 1')
      header.writeInt32BE(length, 1)
      client.send(header)
      expect(shown([await client.next()])).toBe('E(08P01)')
      await client.ended()
    }
    expect(await witness.ask('SELECT 1')).toBe('T D(1) C(SELECT 1) Z(I)')
    witness.close()
    expect(running.logged.filter((line) => line.includes('unforeseen'))).toEqual([])
  })
})

/** Numerical Recipes' generator: the same garbage in each run. */
function seeded(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}
