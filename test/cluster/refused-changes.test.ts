/**
 * What is asked for and must not be done, on real servers: each is refused with a code, the reason and a hint, and nothing changes. What
 * is unknown, paused or scheduled is in operators.test.ts.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseDocument } from 'yaml'
import type { ErrorBody } from '../../src/api/contract.ts'
import { said, startCluster, type TestCluster } from '../support/cluster-harness.ts'
import { signal } from '../support/cluster-processes.ts'

interface Refused {
  readonly code: string
  readonly message: string
  readonly hint: string
}

describe('a change is refused', () => {
  let cluster: TestCluster

  beforeAll(async () => {
    cluster = await startCluster()
    await cluster.withNodeDown('charlie', () => {
      const file = path.join(cluster.data, 'understudy.yaml')
      const document = parseDocument(readFileSync(file, 'utf8'))
      document.setIn(['nodes', 'charlie', 'candidatePriority'], 0)
      writeFileSync(file, document.toString())
    })
    await cluster.healthy()
  })

  afterAll(() => cluster.remove())

  async function refusal(args: readonly string[]): Promise<Refused | null> {
    const result = await cluster.run([...args, '--yes', '--json'])
    if (result.code === 0) return null
    const { error } = JSON.parse(result.stdout) as ErrorBody
    expect({ code: result.code, hint: error.hint }).toEqual({ code: 1, hint: expect.stringMatching(/\w/) })
    return error
  }

  async function unchanged(): Promise<void> {
    expect(await cluster.healthy()).toMatchObject({ epoch: 1, primary: 'alpha' })
  }

  test('to a node of candidatePriority 0, which is not taken by itself either', async () => {
    expect(await refusal(['switchover', '--to', 'charlie'])).toMatchObject({ code: 'not-eligible' })
    const plan = await cluster.run(['switchover', '--dry-run', '--json'])
    expect(JSON.parse(plan.stdout), said(plan)).toMatchObject({ to: 'bravo', refusal: null })
    expect((await cluster.status())?.whatIf?.[0]).toMatchObject({ node: 'alpha', takesOver: ['bravo'] })
    await unchanged()
  })

  test('to a node on which somebody has paused the replay', async () => {
    await cluster.sql('bravo', 'SELECT pg_wal_replay_pause()')
    try {
      await cluster.waitFor('it to be reported', () => cluster.problem('replay-paused', 'bravo'))
      await refusedAs('replay-paused')
      // Of anybody: it says of each why not.
      const nobody = await refusal(['switchover'])
      expect(nobody).toMatchObject({ code: 'no-candidate' })
      expect(nobody?.message).toMatch(/bravo.*charlie|charlie.*bravo/)
    } finally {
      await cluster.sql('bravo', 'SELECT pg_wal_replay_resume()')
    }
    await unchanged()
  })

  async function dryRefusal(to: string): Promise<Refused | null> {
    const result = await cluster.run(['switchover', '--to', to, '--dry-run', '--json'])
    return (JSON.parse(result.stdout) as { refusal: Refused | null }).refusal
  }

  /** What the agents know may still be of the test before. */
  function refusedAs(code: string): Promise<Refused> {
    return cluster.waitFor(`the refusal ${code}`, async () => {
      const found = await dryRefusal('bravo')
      return found?.code === code ? found : null
    })
  }

  test('to a node that has much to replay', async () => {
    const startup = cluster
      .processes()
      .find(({ node, command }) => node === 'bravo' && /postgres: .*startup/.test(command))
    if (startup === undefined) throw new Error(cluster.explain('bravo has no startup process'))
    signal(startup.pid, 'SIGSTOP')
    try {
      await cluster.sql(
        'alpha',
        `CREATE TABLE bulk AS SELECT repeat('x', 1000) AS filler FROM generate_series(1, 30000)`,
      )
      const refused = await refusedAs('lagging')
      expect(refused.message).toMatch(/bravo has \d{8,} bytes to replay/)
      expect(await refusal(['switchover', '--to', 'bravo'])).toMatchObject({ code: 'lagging' })
    } finally {
      signal(startup.pid, 'SIGCONT')
    }
    await cluster.waitFor('it to have replayed', async () => (await dryRefusal('bravo')) === null)
    await unchanged()
  })

  test('to a node that does not stream', async () => {
    await cluster.withNodeDown('bravo', async () => {
      await refusedAs('not-streaming')
    })
    await unchanged()
  })

  test('that was decided on in another epoch', async () => {
    const ask = async (
      what: string,
      body: object,
    ): Promise<{ status: number; code: string; hint: string }> => {
      const answer = await fetch(`http://127.0.0.1:${cluster.apiPort('alpha')}/v1/${what}`, {
        method: 'POST',
        headers: { authorization: `Bearer ${cluster.secret('api-token')}` },
        body: JSON.stringify(body),
      })
      const { error } = (await answer.json()) as ErrorBody
      return { status: answer.status, code: error.code, hint: error.hint }
    }
    const stale = { status: 409, code: 'stale-epoch', hint: expect.stringMatching(/\w/) }
    expect(await ask('switchover', { to: 'bravo', epoch: 7 })).toEqual(stale)
    expect(await ask('failover', { epoch: 0 })).toEqual(stale)
    await unchanged()
  })

  test('by hand while the primary is well, also when its agent is dead and its PostgreSQL streams', async () => {
    const supervisor = cluster.supervisorPid()
    signal(supervisor, 'SIGSTOP')
    try {
      await cluster.kill(cluster.agentPid('alpha'))
      for (const flags of [[], ['--accept-data-loss']])
        expect(await refusal(['failover', ...flags])).toMatchObject({ code: 'primary-well' })
      // When its report has run out, too, and nobody has been elected although nobody hears of the agent.
      await cluster.waitFor('its report to be gone', async () => {
        const seen = await refusal(['failover'])
        return seen?.code === 'primary-well' && /only its agent is not/.test(seen.message)
      })
    } finally {
      signal(supervisor, 'SIGCONT')
    }
    await unchanged()
  })
})
