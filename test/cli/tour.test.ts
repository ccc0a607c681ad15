/** `understudy tour` on clusters that it cannot be taken of: each is refused with a code and a hint, before anything is asked of PostgreSQL. */
import { rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { runCli } from '../support/cli.ts'
import { type FakeCluster, startFakeCluster } from '../support/fake-cluster.ts'

let cluster: FakeCluster
beforeEach(async () => {
  cluster = await startFakeCluster()
})
afterEach(() => cluster.stop())

const tour = (...args: readonly string[]): ReturnType<typeof runCli> =>
  runCli(['tour', '--data', cluster.directory, ...args])

test('one that is not whole', async () => {
  const problem = {
    code: 'not-streaming',
    severity: 'error' as const,
    node: 'bravo',
    since: '2026-01-01T00:00:00Z',
  }
  const problems = [{ ...problem, message: 'bravo does not stream', hint: 'Look at its log.' }]
  for (const agent of cluster.agents) agent.cluster = { ...cluster.status, healthy: false, problems }
  const { code, stdout, stderr } = await tour('--yes')
  expect({ code, stdout, stderr }).toEqual({
    ...{ code: 3, stdout: '' },
    stderr: 'error unhealthy: the cluster is not whole: bravo does not stream\nHINT: Look at its log.\n',
  })
})

test('one of which no agent answers', async () => {
  await Promise.all(cluster.agents.map((agent) => agent.stop()))
  const { code, stdout } = await tour('--json')
  expect({ code, error: JSON.parse(stdout) as unknown }).toMatchObject({
    code: 4,
    error: { error: { code: 'unreachable' } },
  })
})

test('one with a single node, and none at all', async () => {
  const file = path.join(cluster.directory, 'understudy.yaml')
  writeFileSync(file, 'store: { endpoints: ["http://127.0.0.1:1"] }\nnodes: { alpha: { host: 127.0.0.1 } }\n')
  expect(await tour()).toMatchObject({ code: 2, stderr: expect.stringContaining('nothing is replicated') })
  rmSync(path.join(cluster.directory, 'local.json'), { force: true })
  expect(await tour()).toMatchObject({ code: 1, stderr: expect.stringMatching(/^error not-found: /) })
})

test('--yes and --no-changes contradict each other', async () => {
  expect(await tour('--yes', '--no-changes')).toMatchObject({
    code: 2,
    stderr: expect.stringMatching(/^error usage: /),
  })
})
