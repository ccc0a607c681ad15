import { chmodSync, copyFileSync, writeFileSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { frame } from '../../src/protocol/frontend-messages.ts'
import { BACKEND } from '../../src/protocol/message-types.ts'
import {
  createReplicationSlot,
  dropReplicationSlot,
  identifySystem,
  readReplicationSlot,
  show,
  timelineHistory,
  walSegmentSize,
} from '../../src/replication/commands.ts'
import { connectReplication, type ReplicationConnectionOptions } from '../../src/replication/connection.ts'
import { ServerError } from '../../src/replication/failures.ts'
import { issueCertificate, makeCa, type TestCertificate } from '../support/certificates.ts'
import { giveToServerUser } from '../support/postgres-server.ts'
import { type Fixture, failureOf, makeFixture, until } from './fixture.ts'

describe.each([15, 18])('a replication connection to PostgreSQL %i', (major) => {
  let fixture: Fixture
  beforeAll(async () => {
    fixture = await makeFixture('connect', major)
  })
  afterAll(() => fixture.end())

  const connect = (changes: Partial<ReplicationConnectionOptions> = {}) =>
    connectReplication({ ...fixture.connection, ...changes })

  test('authenticates with SCRAM over verified TLS, by address and by name', async () => {
    const { port } = fixture.primary
    for (const host of ['127.0.0.1', 'localhost']) {
      const connection = await connect({ address: { host, port } })
      expect(connection.serverMajor).toBe(major)
      await connection.close()
      expect(connection.isOpen).toBe(false)
      await connection.close()
    }
    // The name that is verified need not be the one that is connected to.
    const tls = { mode: 'verify-full', caPem: fixture.ca.caPem, servername: 'localhost' } as const
    await (await connect({ tls })).close()
    const [row] = await fixture.primary.sql('SELECT rolpassword FROM pg_authid WHERE rolname = $1', [
      'copier',
    ])
    expect(row?.['rolpassword']).toMatch(/^SCRAM-SHA-256\$4096:/)
  })

  test('connects over the Unix socket, where there is no TLS', async () => {
    const connection = await connect({ address: { socketPath: fixture.primary.socketPath } })
    expect(await show(connection, 'port')).toBe(String(fixture.primary.port))
    await connection.close()
  })

  test('runs the simple commands', async () => {
    const connection = await connect()
    const identity = await identifySystem(connection)
    const [control] = await fixture.primary.sql(
      'SELECT system_identifier::text AS id FROM pg_control_system()',
    )
    expect(identity.systemIdentifier).toBe(control?.['id'])
    expect(identity.timelineId).toBe(1)
    expect(identity.flushLsn).toBeGreaterThan(0n)
    expect(await walSegmentSize(connection)).toBe(16 * 1024 * 1024)

    expect(await readReplicationSlot(connection, 'nobody')).toBeNull()
    await createReplicationSlot(connection, { name: 'kept', temporary: false, reserveWal: false })
    expect(await readReplicationSlot(connection, 'kept')).toEqual({
      restartLsn: null,
      restartTimelineId: null,
    })
    await createReplicationSlot(connection, { name: 'passing', temporary: true, reserveWal: true })
    expect((await readReplicationSlot(connection, 'passing'))?.restartLsn).toBeGreaterThan(0n)

    // An error leaves the connection usable, and carries the SQLSTATE.
    const twice = await failureOf(
      createReplicationSlot(connection, { name: 'kept', temporary: false, reserveWal: false }),
    )
    expect(twice).toBeInstanceOf(ServerError)
    expect((twice as ServerError).fields.code).toBe('42710')
    expect((await failureOf(timelineHistory(connection, 7))).code).toBe('server-error')
    await dropReplicationSlot(connection, 'kept')
    await connection.close()
    await until('the temporary slot is gone with its connection', async () => {
      const slots = await fixture.primary.sql('SELECT slot_name FROM pg_replication_slots')
      return slots.length === 0
    })
  })

  test('a wrong password, an unknown user and no password are auth-failed', async () => {
    const wrong = await failureOf(connect({ passwordFrom: () => 'wrong' }))
    expect(wrong.code).toBe('auth-failed')
    expect((await failureOf(connect({ user: 'nobody_here', passwordFrom: () => 'x' }))).code).toBe(
      'auth-failed',
    )
    const other = join(fixture.workspace, `other-passfile-${major}`)
    writeFileSync(other, 'elsewhere:5432:replication:copier:secret\n', { mode: 0o600 })
    expect((await failureOf(connect({ passwordFrom: other }))).hint).toContain('passfile')
    writeFileSync(other, '*:*:*:*:secret\n')
    chmodSync(other, 0o644)
    expect((await failureOf(connect({ passwordFrom: other }))).message).toContain('can be read by others')
  })

  test('an ended session is connect-failed, for the command that runs and for later ones', async () => {
    const connection = await connect({ applicationName: 'to_be_ended' })
    await fixture.primary.sql(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'to_be_ended'",
    )
    await until('the connection ends', () => !connection.isOpen)
    const failure = await failureOf(identifySystem(connection))
    expect(failure.code).toBe('connect-failed')
    expect(failure.message).toContain('terminating connection')
  })
})

describe('TLS', () => {
  let fixture: Fixture
  beforeAll(async () => {
    fixture = await makeFixture('tls', 15)
  })
  afterAll(() => fixture.end())

  /** Swaps the server's certificate; new connections see it after a reload. */
  async function present(certificate: TestCertificate): Promise<void> {
    const { dataDirectory } = fixture.primary
    copyFileSync(certificate.keyFile, join(dataDirectory, 'server.key'))
    copyFileSync(certificate.certificateFile, join(dataDirectory, 'server.crt'))
    giveToServerUser(join(dataDirectory, 'server.key'))
    await fixture.primary.sql('SELECT pg_reload_conf()')
  }

  async function untilRefused(expected: string): Promise<string> {
    let message = ''
    // The reload takes a moment to reach the postmaster.
    await until(`connections are refused with ${expected}`, async () => {
      const failure = await connectReplication(fixture.connection).then(
        async (connection) => {
          await connection.close()
          return null
        },
        (error: unknown) => error as { code: string; message: string },
      )
      message = failure?.message ?? ''
      return failure?.code === expected
    })
    return message
  }

  test('a certificate from another CA is tls-failed', async () => {
    const other = makeCa(join(fixture.workspace, 'other-ca'), 'Other CA')
    const tls = { mode: 'verify-full', caPem: other.caPem } as const
    expect((await failureOf(connectReplication({ ...fixture.connection, tls }))).code).toBe('tls-failed')
  })

  test('a name that the certificate does not carry is tls-failed', async () => {
    const tls = { mode: 'verify-full', caPem: fixture.ca.caPem, servername: 'elsewhere' } as const
    const failure = await failureOf(connectReplication({ ...fixture.connection, tls }))
    expect(failure.code).toBe('tls-failed')
    expect(failure.message).toContain('elsewhere')
    await present(issueCertificate(fixture.ca, 'nameonly', { names: ['DNS:localhost'] }))
    // Connected by address, and the certificate carries none.
    expect(await untilRefused('tls-failed')).toContain('127.0.0.1')
  })

  test('an expired certificate has a code of its own', async () => {
    const names = ['DNS:localhost', 'IP:127.0.0.1']
    await present(issueCertificate(fixture.ca, 'expired', { names, expired: true }))
    await untilRefused('certificate-expired')
  })

  test('a server without TLS is refused, not trusted', async () => {
    await fixture.primary.sql('ALTER SYSTEM SET ssl = off')
    await fixture.primary.sql('SELECT pg_reload_conf()')
    expect(await untilRefused('tls-failed')).toContain('does not offer TLS')
  })
})

describe('peers that are no PostgreSQL', () => {
  const servers: Server[] = []
  afterAll(() => {
    for (const server of servers) server.close()
  })

  /** Answers each connection by `script`. */
  async function scripted(script: (socket: Socket) => void): Promise<ReplicationConnectionOptions> {
    const server = createServer((socket) => {
      socket.on('error', () => undefined)
      script(socket)
    })
    servers.push(server)
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const address = server.address()
    if (address === null || typeof address === 'string') throw new Error('no port')
    return {
      address: { host: '127.0.0.1', port: address.port },
      user: 'x',
      passwordFrom: () => 'secret',
      tls: { mode: 'disable' },
      applicationName: 'test',
      replication: 'physical',
      connectTimeoutMs: 300,
    }
  }

  const authentication = (hex: string): Buffer => frame(BACKEND.Authentication, Buffer.from(hex, 'hex'))
  const sasl = frame(
    BACKEND.Authentication,
    Buffer.concat([Buffer.from([0, 0, 0, 10]), Buffer.from('SCRAM-SHA-256\0\0')]),
  )

  test('silence ends after the time-out', async () => {
    const options = await scripted(() => undefined)
    const failure = await failureOf(connectReplication(options))
    expect(failure.code).toBe('connect-failed')
    expect(failure.message).toContain('did not answer within 300 ms')
  })

  test('nothing that listens is connect-failed', async () => {
    const options = await scripted(() => undefined)
    await new Promise((resolve) => servers.at(-1)?.close(resolve))
    expect((await failureOf(connectReplication(options))).message).toContain('ECONNREFUSED')
  })

  test('bytes before TLS begins are refused (CVE-2021-23222)', async () => {
    const options = await scripted((socket) => socket.once('data', () => socket.write('Sinjected')))
    const tls = { mode: 'verify-full', caPem: '' } as const
    expect((await failureOf(connectReplication({ ...options, tls }))).message).toContain('before TLS began')
  })

  test('a yes in the middle of SCRAM is not believed', async () => {
    const ready = frame(BACKEND.ReadyForQuery, Buffer.from('I'))
    const options = await scripted((socket) => {
      socket.once('data', () => {
        socket.write(sasl)
        socket.once('data', () => socket.write(Buffer.concat([authentication('00000000'), ready])))
      })
    })
    const failure = await failureOf(connectReplication(options))
    expect(failure.code).toBe('auth-failed')
    expect(failure.message).toContain('did not prove')
  })

  test('weaker methods get no password', async () => {
    for (const [method, name] of [
      ['00000003', 'cleartext'],
      ['0000000500000000', 'MD5'],
    ] as const) {
      const received: Buffer[] = []
      const options = await scripted((socket) => {
        socket.on('data', (bytes: Buffer) => received.push(bytes))
        socket.once('data', () => socket.write(authentication(method)))
      })
      const failure = await failureOf(connectReplication(options))
      expect(failure.code).toBe('auth-failed')
      expect(failure.message).toContain(name)
      expect(received).toHaveLength(1)
    }
  })

  test('garbage is a protocol-violation', async () => {
    const options = await scripted((socket) =>
      socket.once('data', () => socket.write('HTTP/1.1 400 Bad Request\r\n')),
    )
    expect((await failureOf(connectReplication(options))).code).toBe('protocol-violation')
  })

  test('an abort ends the attempt at once', async () => {
    const options = await scripted(() => undefined)
    const stop = new AbortController()
    setTimeout(() => stop.abort(), 20)
    const started = performance.now()
    await failureOf(connectReplication({ ...options, connectTimeoutMs: 10_000, signal: stop.signal }))
    expect(performance.now() - started).toBeLessThan(2_000)
  })
})
