/** The process that is fuzzed: a PostgreSQL with a proxy in each mode. Tells its ports, and how it is when it is asked. */
import { findInstalls } from '../support/postgres-installs.ts'
import { ProxyFixture } from '../support/proxy-fixture.ts'

export interface FuzzedPorts {
  readonly kind: 'ports'
  readonly proxies: Readonly<Record<string, number>>
  readonly serverPort: number
  readonly major: number
}

export interface FuzzedState {
  readonly kind: 'state'
  readonly residentBytes: number
  readonly clients: number
  readonly logins: number
  readonly waiting: number
  readonly serverSessions: number
  readonly unforeseen: readonly string[]
  /** What the server says of crashes of its own. */
  readonly crashes: readonly string[]
}

const major = Number(process.argv[2] ?? findInstalls()[0]?.major)
const fixture = await ProxyFixture.start(major)
await fixture.sql('CREATE TABLE fuzzed (a int, b text); GRANT ALL ON fuzzed TO app')
const limits = { maxClients: 500, maxLogins: 200, maxWaiting: 500, loginTimeoutMs: 15_000 }
const transaction = await fixture.proxy({ ...limits, defaultPoolSize: 4 })
const session = await fixture.proxy({ ...limits, defaultPoolSize: 20, poolMode: 'session' })

process.on('message', (message) => {
  if (message === 'state') void state().then((told) => process.send?.(told))
  if (message === 'stop') void fixture.stop().then(() => process.exit(0))
})
process.on('disconnect', () => void fixture.stop().then(() => process.exit(0)))
process.send?.({
  kind: 'ports',
  proxies: { transaction: transaction.port, session: session.port },
  serverPort: fixture.server.port,
  major,
} satisfies FuzzedPorts)

async function state(): Promise<FuzzedState> {
  globalThis.gc?.()
  const counts = [transaction, session].map(({ proxy }) => proxy.counts)
  const sum = (name: 'clients' | 'logins' | 'waiting'): number =>
    counts.reduce((total, each) => total + each[name], 0)
  return {
    kind: 'state',
    residentBytes: process.memoryUsage.rss(),
    clients: sum('clients'),
    logins: sum('logins'),
    waiting: sum('waiting'),
    serverSessions: await fixture.serverSessions(),
    crashes: fixture.server
      .log()
      .split('\n')
      .filter((line) => /terminated by signal|process was running/.test(line)),
    unforeseen: [...transaction.logged, ...session.logged].filter((line) => line.includes('unforeseen')),
  }
}
