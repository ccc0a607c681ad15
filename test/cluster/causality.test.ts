/** P4 on whole clusters, for a short while; `npm run causality` goes on for as long as it is told. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type CausalCluster, runCausality } from '../lab/clients/causal-run.ts'
import { startCluster, type TestCluster } from '../support/cluster-harness.ts'

describe('through the auto port, with late standbys', () => {
  let cluster: TestCluster

  beforeAll(async () => {
    cluster = await startCluster({ durability: 'async', flags: ['--rto', '1s'] })
  })

  afterAll(async () => {
    await cluster.remove()
  })

  const causal = (): CausalCluster => ({
    nodes: cluster.nodes,
    places: cluster.places,
    connect: (options) =>
      cluster.connect('', {
        ...{ superuser: false, port: cluster.portBase + 32, options },
        ...{ query_timeout: 60_000, connectionTimeoutMillis: 20_000 },
      }),
    superuser: (node) => cluster.connect(node, { database: 'app' }),
    healthy: async () => (await cluster.healthy()).primary ?? '',
  })

  test('P4: no session reads less than its level promises, also when its primary dies', async () => {
    const run = await runCausality(causal(), {
      seed: 1,
      forMs: 12_000,
      sessions: 8,
      failoverMs: 6000,
      lie: false,
    })
    expect(run.check.violations).toEqual([])
    expect(run.deaths).toBe(1)
    expect(run.check.demanding).toBeGreaterThan(50)
    expect(run.standbyReads).toBeGreaterThan(50)
  })

  test('sessions that read at another level than they say are found', async () => {
    const run = await runCausality(causal(), { seed: 2, forMs: 4000, sessions: 8, failoverMs: 0, lie: true })
    expect(run.check.violations.length).toBeGreaterThan(0)
  })
})
