/** The proxy: where clients come in, how server connections are shared, and what it bears. */
import { z } from 'zod'
import { byteSize, documented, duration, host, port } from '../fields.ts'

const limit = z.number().int().min(1).max(1_000_000)
const name = z.string().min(1).max(63)

/** Counts in a proxy that runs. */
function key<T extends z.ZodType>(schema: T, description: string, example?: unknown): T {
  return documented(schema, { description, takesEffect: 'reload', ...(example !== undefined && { example }) })
}

/** Counts when the proxy is started again: its ports and its processes. */
function fixedKey<T extends z.ZodType>(schema: T, description: string, example?: unknown): T {
  return documented(schema, { description, takesEffect: 'proxy', ...(example !== undefined && { example }) })
}

const ports = z
  .strictObject({
    auto: fixedKey(
      port.optional(),
      'The port on which reads go to standbys, as fresh as `reads` says, and everything else to the primary. Left out: it is not served.',
      6432,
    ),
    readWrite: fixedKey(
      port.optional(),
      'The port that is always the primary. Left out: it is not served.',
      6433,
    ),
    readOnly: fixedKey(
      port.optional(),
      'The port for reads alone, which standbys serve. Left out: it is not served.',
      6434,
    ),
  })
  .prefault({})

const reads = z
  .strictObject({
    level: fixedKey(
      z.enum(['eventual', 'monotonic', 'session', 'token', 'primary']).default('session'),
      'How fresh a read must be, unless a client says otherwise (docs/proxy.md). `session`: nobody misses what he wrote himself.',
    ),
    maxLag: fixedKey(
      duration('10ms', '1d').prefault('10s'),
      'A standby that is further behind is read from by nobody.',
    ),
    wait: fixedKey(
      duration('0ms', '1m').prefault('50ms'),
      'How long a read waits for a standby that has what it must see, before it goes to the primary.',
    ),
    readOnlyFallback: fixedKey(
      z.boolean().default(true),
      'Whether the primary serves the port `readOnly` while no standby may. With `false` its clients wait, at most `holdTimeout`.',
    ),
  })
  .prefault({})

const poolMode = z.enum(['session', 'transaction'])

const poolRule = z.strictObject({
  database: name.optional(),
  user: name.optional(),
  size: limit.optional(),
  mode: poolMode.optional(),
})

const limits = {
  defaultPoolSize: key(
    limit.default(20),
    'Server connections per database, role and set of start-up parameters. The workers share them; each has at least one.',
  ),
  pools: key(
    z.array(poolRule).default([]),
    'Sizes and modes of single pools: `[{ database: app, user: batch, size: 5, mode: session }]`. Of those that fit, the first one with a `size` says the size, and the first one with a `mode` the mode.',
    [{ database: 'app', user: 'batch', size: 5 }],
  ),
  maxClients: key(limit.default(2_000), 'Clients at the same time, of all workers.'),
  maxLogins: key(limit.default(200), 'Clients in the middle of a login. The workers share it.'),
  maxWaiting: key(limit.default(2_000), 'Clients that wait for a server connection. The workers share it.'),
  maxWaitingBytes: key(
    byteSize('64kB', '64GB').prefault('64MB'),
    'What clients that wait for a server connection have sent already, all together. The workers share it.',
  ),
  maxPreparedStatements: key(
    limit.default(200),
    'Prepared statements that are kept per server connection, in transaction mode.',
  ),
  maxClientStatements: key(
    byteSize('64kB', '1GB').prefault('8MB'),
    'Texts of the prepared statements that one client has by name, in transaction mode.',
  ),
}

const times = {
  holdTimeout: key(
    duration('10ms', '1h').prefault('10s'),
    'How long a client waits for a server connection, and for a primary.',
  ),
  loginTimeout: key(duration('10ms', '1h').prefault('15s'), 'How long a login may take.'),
  idleTransactionTimeout: key(
    duration('0ms', '30d').prefault('0s'),
    'A transaction in which the client is silent for so long is rolled back, and its session ended. `0s`: no limit.',
  ),
  serverIdleTimeout: key(
    duration('10ms', '30d').prefault('10m'),
    'A free server connection that nobody used for so long is closed.',
  ),
  serverLifetime: key(
    duration('10ms', '30d').prefault('1h'),
    'A free server connection that is so old is closed.',
  ),
  serverConnectTimeout: key(
    duration('10ms', '1h').prefault('3s'),
    'How long a server may take for a connection and its login.',
  ),
}

const operation = {
  workers: fixedKey(
    z.number().int().min(1).max(64).optional(),
    'Processes that serve the ports together. Left out: one for every two processors, at least one.',
    2,
  ),
  metricsPort: fixedKey(
    port.optional(),
    'Metrics and health of the proxy over HTTP, at its address, encrypted as the agents’ API is. Left out: not served.',
    6435,
  ),
  consoleRoles: key(
    z.array(name).default([]),
    'Roles that may use the console (database `pgunderstudy`), beside the superuser.',
    ['dba'],
  ),
}

const proxy = z.strictObject({
  host: fixedKey(
    host.optional(),
    'The address on which it listens, and which clients are told. Left out: every node runs one, where the node itself is reached (`nodes.NAME.host`, `listen`).',
    '127.0.0.1',
  ),
  ports: documented(ports, { description: 'The ports, one per kind of target.' }),
  reads: documented(reads, { description: 'Reads on standbys, over the ports `auto` and `readOnly`.' }),
  poolMode: key(
    poolMode.default('transaction'),
    'Whether a server connection belongs to a client until its transaction ends, or until it leaves. Another one counts for new clients.',
  ),
  tls: key(z.enum(['allow', 'require']).default('allow'), '`require` refuses clients without TLS.'),
  resolveCommits: key(
    z.boolean().default(false),
    'A COMMIT that was left without an answer is looked up at the primary, as far as that is certain (docs/proxy.md). It costs a question ahead of each COMMIT.',
  ),
  ...operation,
  ...limits,
  ...times,
})

export type ProxyConfig = z.infer<typeof proxy>

export const proxySection = documented(proxy.prefault({}), {
  description:
    'The proxy of this cluster (docs/proxy.md). Without a port there is none; with one, `understudy systemd` prints a unit for it on each node.',
})
