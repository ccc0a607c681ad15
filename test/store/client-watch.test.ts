/** The client's watch against scripted streams: frames in pieces, errors in the middle, silence, stores that went back in time. */
import type { ServerResponse } from 'node:http'
import { afterEach, expect, test } from 'vitest'
import { createStoreClient, type StoreClientOptions } from '../../src/store/gateway-client.ts'
import { type Script, ScriptedServer } from '../support/scripted-server.ts'
import { Recorder, until } from './helpers.ts'

const opened: { close(): unknown }[] = []
afterEach(async () => {
  for (const one of opened.splice(0)) await one.close()
})

interface Watching {
  readonly server: ScriptedServer
  readonly recorder: Recorder
}

async function watch(script: Script, from = 1n, over: Partial<StoreClientOptions> = {}): Promise<Watching> {
  const server = await ScriptedServer.start(script)
  const store = createStoreClient({
    endpoints: [server.url],
    credentials: 'none',
    requestTimeoutMs: 200,
    watchSilenceMs: 300,
    nowMs: () => performance.now(),
    random: () => 0,
    ...over,
  })
  opened.push(store, server)
  const recorder = new Recorder()
  store.watch('/w/', from, recorder, new AbortController().signal)
  return { server, recorder }
}

const base64 = (text: string): string => Buffer.from(text).toString('base64')

function frame(revision: number, more: object = {}): string {
  const result = {
    header: { cluster_id: '1', member_id: '2', revision: String(revision), raft_term: '2' },
    ...more,
  }
  return `${JSON.stringify({ result })}\n`
}

function event(revision: number, key: string, value: string): string {
  const kv = {
    key: base64(key),
    value: base64(value),
    create_revision: '1',
    mod_revision: String(revision),
    version: '1',
  }
  return frame(revision, { events: [{ kv }] })
}

const created = (revision: number): string => frame(revision, { created: true })

/** The start revisions that the server was asked for, in order. */
function starts(server: ScriptedServer): readonly string[] {
  return server.asked.map(({ body }) => {
    const message = JSON.parse(body.trim()) as { create_request: { start_revision: string } }
    return message.create_request.start_revision
  })
}

/** One script per connection; the last one stays. */
function scripts(...each: readonly ((response: ServerResponse) => void)[]): Script {
  let count = 0
  return (_, response) => {
    response.writeHead(200)
    each[Math.min(count++, each.length - 1)]?.(response)
  }
}

test('frames arrive in any pieces: byte by byte, or many at once', async () => {
  const bytes = Buffer.from(created(1) + event(2, '/w/ä', '„1“') + event(3, '/w/b', '2') + frame(3))
  const { recorder } = await watch(
    scripts((response) => {
      let at = 0
      const next = (): void => {
        if (at >= bytes.length) {
          response.write(Buffer.from(event(4, '/w/c', '3') + event(5, '/w/d', '4')))
          return
        }
        response.write(bytes.subarray(at, at + 7))
        at += 7
        setImmediate(next)
      }
      next()
    }),
  )
  await until('four events', () => recorder.batches.length === 4)
  expect(recorder.seen('/w/')).toEqual(['ä=„1“', 'b=2', 'c=3', 'd=4'])
})

test('a member is asked to end the stream when it has no leader, and the connection is one that may stay open both ways', async () => {
  const { server, recorder } = await watch(
    scripts((response) => response.write(created(1) + event(2, '/w/a', '1'))),
  )
  await until('the event', () => recorder.batches.length === 1)
  expect(server.asked[0]?.headers).toMatchObject({ 'grpc-metadata-hasleader': 'true', connection: 'close' })
})

test('a stream that breaks is resumed behind the last event, not behind what a header promised', async () => {
  const { server, recorder } = await watch(
    scripts(
      // The header is ahead: further events were still to come when the connection broke.
      (response) =>
        response.end(created(9) + event(5, '/w/a', '1').replace('"revision":"5"', '"revision":"9"')),
      (response) => response.write(created(9) + event(7, '/w/b', '2')),
    ),
  )
  await until('the second event', () => recorder.batches.length === 2)
  expect(starts(server)).toEqual(['1', '6'])
  expect(recorder.gaps).toEqual([])
})

test('an error in the stream, nonsense or a frame without end begins a new stream', async () => {
  const noLeader = { error: { grpc_code: 14, http_code: 503, message: 'etcdserver: no leader' } }
  const { server, recorder } = await watch(
    scripts(
      (response) => response.write(`${created(1)}${JSON.stringify(noLeader)}\n`),
      (response) => response.write(`${created(1)}<html>\n`),
      (response) =>
        response.write(`${created(1)}{"result":{"header":{"revision":"1"},"events":[{"kv":7}]}}\n`),
      (response) => response.write('x'.repeat(5_000)),
      (response) => response.write(created(1) + event(2, '/w/a', '1')),
    ),
    1n,
    { maxAnswerLength: 4_096 },
  )
  await until('the event in the end', () => recorder.batches.length === 1)
  expect(server.asked).toHaveLength(5)
  expect(starts(server)).toEqual(['1', '1', '1', '1', '1'])
})

test('compaction is a gap, and the watch goes on behind it', async () => {
  const { server, recorder } = await watch(
    scripts(
      (response) => response.write(created(50) + frame(0, { canceled: true, compact_revision: '40' })),
      (response) => response.write(created(50) + event(51, '/w/a', '1')),
    ),
    10n,
  )
  await until('the event behind the gap', () => recorder.batches.length === 1)
  expect(recorder.gaps).toHaveLength(1)
  expect(starts(server)).toEqual(['10', '41'])
})

test('a store that is behind what was seen is a gap: its watch from the future would be silent', async () => {
  const { server, recorder } = await watch(
    scripts(
      (response) => response.end(created(99) + event(100, '/w/a', '1')),
      (response) => response.end(created(30)),
      (response) => response.write(created(30) + event(31, '/w/b', '2')),
    ),
    100n,
  )
  await until('the event of the store that went back', () => recorder.batches.length === 2)
  expect(recorder.gaps).toHaveLength(1)
  expect(starts(server)).toEqual(['100', '101', '31'])
})

test('a watch from now on resumes from what now was', async () => {
  const { server, recorder } = await watch(
    scripts(
      (response) => response.end(created(70)),
      (response) => response.write(created(75) + event(72, '/w/missed', '1')),
    ),
    0n,
  )
  await until('what was missed', () => recorder.batches.length === 1)
  expect(starts(server)).toEqual(['0', '71'])
})

test('something that holds requests back until they are complete gets complete ones', async () => {
  const { server, recorder } = await watch((_asked, response, request) => {
    const begin = (): void => {
      response.writeHead(200)
      response.write(created(1) + event(2, '/w/a', '1'))
    }
    // Like a proxy that buffers: nothing happens before the end of the body.
    if (request.complete) begin()
    else request.on('end', begin)
  })
  await until('the event', () => recorder.batches.length > 0)
  expect(server.asked.length).toBeGreaterThan(1)
  expect(recorder.gaps).toEqual([])
})

test('a token that the stream refuses is fetched anew', async () => {
  let token = 'one'
  const { server, recorder } = await watch(
    (asked, response) => {
      response.writeHead(200)
      if (asked.path === '/v3/auth/authenticate') response.end(JSON.stringify({ token }))
      else if (asked.authorization === token) response.write(created(1) + event(2, '/w/a', token))
      else response.write(frame(1, { watch_id: '-1', created: true, canceled: true, cancel_reason: REFUSED }))
      if (asked.authorization === 'one' && token === 'one') {
        token = 'two'
        response.end()
      }
    },
    1n,
    { credentials: { username: 'a', password: 'b' } },
  )
  await until('both events', () => recorder.batches.length === 2)
  expect(recorder.seen('/w/')).toEqual(['a=one', 'a=two'])
  expect(server.paths().filter((path) => path.endsWith('authenticate'))).toHaveLength(2)
})

const REFUSED = 'rpc error: code = Unauthenticated desc = etcdserver: invalid auth token'
