/** What only a real etcd can show: logins, TLS with client certificates, a gateway that is off, and members that fail one by one. */
import { readFileSync, rmSync } from 'node:fs'
import { afterEach, describe, expect, test } from 'vitest'
import type { Store } from '../../src/ports/store.ts'
import type { StoreClientOptions } from '../../src/store/gateway-client.ts'
import { issueCertificate, makeCa } from '../support/certificates.ts'
import { eventually, freshPrefix, post, put, Recorder, until, value } from './helpers.ts'
import {
  clientOf,
  ETCD_MISSING,
  type StoreServer,
  startEtcd,
  startEtcdCluster,
  temporaryDirectory,
} from './servers.ts'

const servers: StoreServer[] = []
const clients: Store[] = []
const directories: string[] = []
afterEach(async () => {
  for (const client of clients.splice(0)) client.close()
  await Promise.all(servers.splice(0).map((server) => server.dispose()))
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true })
})

function connect(server: StoreServer, over: Partial<StoreClientOptions> = {}): Store {
  const store = clientOf(server, over)
  clients.push(store)
  return store
}

async function etcd(options: Parameters<typeof startEtcd>[0] = {}): Promise<StoreServer> {
  const server = await startEtcd(options)
  servers.push(server)
  return server
}

describe.skipIf(ETCD_MISSING !== null)(
  `etcd${ETCD_MISSING === null ? '' : ` (skipped: ${ETCD_MISSING})`}`,
  () => {
    test('name and password: logins, a role’s limits, and tokens that a restart forgets', async () => {
      const server = await etcd()
      await protect(server)
      const credentials = { username: 'agent', password: 'agent-secret' }
      const store = connect(server, { credentials })
      const recorder = new Recorder()
      const ended = new AbortController()
      await put(store, '/understudy/main/primacy', '1')
      store.watch('/understudy/main/', 0n, recorder, ended.signal)
      expect(await store.get('/elsewhere')).toMatchObject({ kind: 'refused', code: 'store-auth' })
      for (const wrong of [{ ...credentials, password: 'guess' }, { token: 'guess' }, 'none'] as const) {
        const other = connect(server, { credentials: wrong })
        expect(await other.get('/understudy/main/primacy')).toMatchObject({
          kind: 'refused',
          code: 'store-auth',
        })
        const write = { compare: [], success: [{ op: 'delete', key: '/understudy/main/primacy' } as const] }
        expect(await other.transact(write)).toMatchObject({ kind: 'refused', code: 'store-auth' })
      }
      await server.kill()
      await server.start()
      expect((await eventually(() => store.get('/understudy/main/primacy')))?.value).toBe('1')
      await until('the watch, logged in anew', async () => {
        await put(store, '/understudy/main/primacy', '2')
        return recorder.batches.length > 0
      })
      // Any change of users makes every older token "old" for writes.
      await addUser(server)
      await put(store, '/understudy/main/primacy', '3')
      ended.abort()
    })

    test('TLS with client certificates', async () => {
      const directory = temporaryDirectory()
      directories.push(directory)
      const ca = makeCa(directory)
      const own = issueCertificate(ca, 'etcd', { names: ['IP:127.0.0.1', 'DNS:store.internal'] })
      const agent = issueCertificate(ca, 'agent', { names: ['DNS:agent'] })
      const files = ['--cert-file', own.certificateFile, '--key-file', own.keyFile]
      const clientCa = ['--client-cert-auth', '--trusted-ca-file', `${directory}/ca.crt`]
      const server = await etcd({ scheme: 'https', arguments: [...files, ...clientCa] })
      const read = (path: string): string => readFileSync(path, 'utf8')
      const certificates = { ca: ca.caPem, cert: read(agent.certificateFile), key: read(agent.keyFile) }
      const store = connect(server, { tls: certificates })
      await eventually(() => store.get('/understudy/a'))
      const recorder = new Recorder()
      store.watch('/understudy/', 0n, recorder, new AbortController().signal)
      await until('the watch over TLS', async () => {
        await put(store, '/understudy/a', '1')
        return recorder.batches.length > 0
      })
      const named = connect(server, { tls: { ...certificates, servername: 'store.internal' } })
      expect(value(await named.get('/understudy/a'))?.value).toBe('1')
      const stranger = makeCa(`${directory}/stranger`)
      for (const tls of [
        { ca: ca.caPem },
        { ...certificates, ca: stranger.caPem },
        { ...certificates, servername: 'other.internal' },
      ]) {
        expect(await connect(server, { tls }).get('/understudy/a')).toMatchObject({ kind: 'unavailable' })
      }
    })

    test('a gateway that is switched off is said to be that', async () => {
      const server = await etcd({ arguments: ['--enable-grpc-gateway=false'] })
      expect(await connect(server).get('/a')).toMatchObject({ kind: 'refused', code: 'store-gateway' })
    })

    test('three members: one that hangs costs a read nothing, and the watch goes to another', async () => {
      const members = await startEtcdCluster()
      servers.push(...members)
      const [first] = members
      if (first === undefined) throw new Error('no member')
      const prefix = freshPrefix()
      const all = {
        endpoints: members.map(({ url }) => url),
        requestTimeoutMs: 1_500,
        watchSilenceMs: 600,
        random: () => 0,
      }
      const store = connect(first, all)
      const { revision } = await eventually(() => store.list(prefix))
      const recorder = new Recorder()
      store.watch(prefix, revision + 1n, recorder, new AbortController().signal)
      await put(store, `${prefix}a`, '1')
      await until('the watch', () => recorder.batches.length === 1)
      first.freeze()
      await eventually(() => store.get(`${prefix}a`))
      await eventually(() =>
        store.transact({ compare: [], success: [{ op: 'put', key: `${prefix}b`, value: '2' }] }),
      )
      await until('the watch on another member', () => recorder.seen(prefix).includes('b=2'))
      expect(recorder.gaps).toEqual([])
    })

    test('three members, two gone: the third says that it has no leader, on watches too', async () => {
      const members = await startEtcdCluster()
      servers.push(...members)
      const [last, ...others] = members
      if (last === undefined) throw new Error('no member')
      const prefix = freshPrefix()
      const store = connect(last, { requestTimeoutMs: 1_000, watchSilenceMs: 60_000 })
      await eventually(() => store.get(prefix))
      const recorder = new Recorder()
      store.watch(prefix, 0n, recorder, new AbortController().signal)
      await until('the watch', async () => {
        await put(store, `${prefix}a`, '1')
        return recorder.batches.length > 0
      })
      await Promise.all(others.map((other) => other.kill()))
      expect(await store.get(prefix)).toMatchObject({ kind: 'unavailable' })
      // Silence would be noticed after a minute only: what ends the stream is the member itself (Grpc-Metadata-hasleader).
      const ended = await streamEnd(last, prefix)
      expect(ended).toContain('no leader')
      await Promise.all(others.map((other) => other.start()))
      await eventually(() => store.get(prefix))
      const before = recorder.batches.length
      await until('the watch again', async () => {
        await put(store, `${prefix}a`, '2')
        return recorder.batches.length > before
      })
    })
  },
)

/** What a new watch of ours would be told. */
async function streamEnd(server: StoreServer, prefix: string): Promise<string> {
  let text = ''
  await until('the member’s word', async () => {
    const key = Buffer.from(prefix).toString('base64')
    const response = await fetch(`${server.url}/v3/watch`, {
      method: 'POST',
      headers: { 'grpc-metadata-hasleader': 'true' },
      body: JSON.stringify({ create_request: { key } }),
      signal: AbortSignal.timeout(500),
    }).catch(() => null)
    text = response === null ? '' : await response.text().catch(() => '')
    return text.includes('error')
  })
  return text
}

/** Users, a role for our keys only, and authentication switched on. */
async function protect(server: StoreServer): Promise<void> {
  const base64 = (text: string): string => Buffer.from(text).toString('base64')
  const perm = { permType: 2, key: base64('/understudy/'), range_end: base64('/understudy0') }
  const steps: readonly (readonly [string, unknown])[] = [
    ['user/add', { name: 'root', password: 'root-secret' }],
    ['role/add', { name: 'root' }],
    ['user/grant', { user: 'root', role: 'root' }],
    ['user/add', { name: 'agent', password: 'agent-secret' }],
    ['role/add', { name: 'agent' }],
    ['role/grant', { name: 'agent', perm }],
    ['user/grant', { user: 'agent', role: 'agent' }],
    ['enable', {}],
  ]
  for (const [path, body] of steps) {
    const { status, text } = await post(server, `/v3/auth/${path}`, body)
    if (status !== 200) throw new Error(`${path}: ${text}`)
  }
}

async function addUser(server: StoreServer): Promise<void> {
  const login = await post(server, '/v3/auth/authenticate', { name: 'root', password: 'root-secret' })
  const { token } = JSON.parse(login.text) as { token: string }
  const { url } = server
  const added = await post({ url, credentials: { token } }, '/v3/auth/user/add', {
    name: 'new',
    password: 'new',
  })
  expect(added.status).toBe(200)
}
