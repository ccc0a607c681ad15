/** Messages that a server sends whenever it likes, cut anywhere: whose they are. */
import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { commandComplete, readyForQuery } from '../../src/protocol/backend-builders.ts'
import { frame } from '../../src/protocol/frontend-messages.ts'
import { ClientStatements } from '../../src/proxy/client-statements.ts'
import type { LinkedClient } from '../../src/proxy/linked-client.ts'
import { Parameters } from '../../src/proxy/parameters.ts'
import { REQUEST } from '../../src/proxy/request-queue.ts'
import { ServerConnection } from '../../src/proxy/server-connection.ts'
import { StatementRegistry } from '../../src/proxy/statements.ts'
import { emptyTraffic } from '../../src/proxy/traffic.ts'

class FakeSocket extends Duplex {
  override _read(): void {}
  override _write(_chunk: Buffer, _encoding: string, done: () => void): void {
    done()
  }
  destroySoon(): void {
    this.destroy()
  }
}

class FakeClient implements LinkedClient<ServerConnection> {
  readonly got: Buffer[] = []
  readonly traffic = emptyTraffic('app', 'app')
  readonly parameters = new Parameters()
  readonly began = new Map<string, string>()
  readonly statements = new ClientStatements(new StatementRegistry(10))
  ready = 0
  toClient(bytes: Buffer): void {
    this.got.push(Buffer.from(bytes))
  }
  serverReady(): void {
    this.ready++
  }
  flushToClient(): void {}
  schemaChanged(): void {}
  serverInTransaction(): void {}
  serverRefused(): void {}
  serverLost(): void {}
  serverDrained(): void {}
  get text(): string {
    return Buffer.concat(this.got).toString('latin1')
  }
}

const notice = frame('N'.charCodeAt(0), Buffer.from('SNOTICE\0MOF THE SERVER\0\0'))
const notification = frame('A'.charCodeAt(0), Buffer.from('\0\0\0\x07news\0hello\0'))
const parameter = frame('S'.charCodeAt(0), Buffer.from('in_hot_standby\0off\0'))
const answer = Buffer.concat([commandComplete('SELECT 1'), readyForQuery('I')])

function connection(): {
  readonly server: ServerConnection
  readonly says: (bytes: Buffer) => Promise<void>
} {
  const socket = new FakeSocket()
  const login = { parameters: new Parameters(), processId: 1, secretKey: Buffer.alloc(4) }
  const server = new ServerConnection(socket as unknown as Socket, login, {
    epoch: 1,
    node: { name: 'alpha', host: '127.0.0.1', port: 1 },
    onClosed: () => {},
  })
  const says = async (bytes: Buffer): Promise<void> => {
    // Each piece is read before the next one comes.
    socket.push(Buffer.from(bytes))
    await new Promise((resolve) => setImmediate(resolve))
  }
  return { server, says }
}

describe('what a server says unasked', () => {
  test.each([
    ['a notice', notice],
    ['a notification', notification],
  ])('%s that began while nobody was linked is nobody’s, to its last byte', async (_, message) => {
    for (let cut = 0; cut <= message.length; cut++) {
      const { server, says } = connection()
      await says(message.subarray(0, cut))
      const client = new FakeClient()
      // Of less than its header nothing was looked at yet.
      server.client = client
      server.requests.push(REQUEST.Query)
      await says(Buffer.concat([message.subarray(cut), answer]))
      const expected = cut < 5 ? Buffer.concat([message, answer]) : answer
      expect(client.text, `cut at ${cut}`).toBe(expected.toString('latin1'))
      expect(client.ready).toBe(1)
    }
  })

  test.each([
    ['a notice', notice],
    ['a notification', notification],
    ['a parameter', parameter],
  ])(
    '%s behind the end of an answer is the client’s whose answer it was, and the server is free after it',
    async (_, message) => {
      for (let cut = 5; cut <= message.length; cut++) {
        const { server, says } = connection()
        const client = new FakeClient()
        server.client = client
        server.requests.push(REQUEST.Query)
        await says(Buffer.concat([answer, message.subarray(0, cut)]))
        if (message !== parameter) expect(client.ready, `cut at ${cut}`).toBe(cut === message.length ? 1 : 0)
        await says(message.subarray(cut))
        expect(client.ready).toBe(1)
        expect(client.text).toBe(Buffer.concat([answer, message]).toString('latin1'))
      }
    },
  )

  test('a client that has asked more in between keeps its server', async () => {
    const { server, says } = connection()
    const client = new FakeClient()
    server.client = client
    server.requests.push(REQUEST.Query)
    await says(Buffer.concat([answer, notice.subarray(0, 9)]))
    server.requests.push(REQUEST.Query)
    await says(notice.subarray(9))
    expect(client.ready).toBe(0)
    await says(answer)
    expect(client.ready).toBe(1)
  })
})
