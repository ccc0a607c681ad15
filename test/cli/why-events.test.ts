/** `why` and `events`: every node's own words as one list, also when a node is away or comes back. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { collect, runCli, startCli } from '../support/cli.ts'
import { event, type FakeCluster, startFakeCluster } from '../support/fake-cluster.ts'

let cluster: FakeCluster
beforeEach(async () => {
  cluster = await startFakeCluster()
})
afterEach(() => cluster.stop())

const data = (): string[] => ['--data', cluster.directory]

describe('why', () => {
  it('prints the rule and the reason of every node', async () => {
    const result = await runCli(['why', ...data()])
    expect(result.code).toBe(0)
    expect(result.stdout).toMatch(/alpha +follow, for .*\n +alpha does what it should\nbravo +follow/)
  })

  it('prints an array with --json, and one object for one node', async () => {
    const all = await runCli(['why', '--json', ...data()])
    expect(JSON.parse(all.stdout)).toEqual(cluster.agents.map((agent) => agent.why))
    const one = await runCli(['why', 'bravo', '--json', ...data()])
    expect(JSON.parse(one.stdout)).toEqual(cluster.agents[1].why)
    expect(cluster.agents[0].asked).toEqual(['/v1/why'])
  })

  it('says which node is silent, and goes on with the others', async () => {
    await cluster.agents[1].stop()
    const result = await runCli(['why', '--json', ...data()])
    expect(result.code).toBe(0)
    expect(JSON.parse(result.stdout)[1]).toEqual({
      node: 'bravo',
      rule: null,
      reason: expect.stringContaining('nothing listens there'),
      since: null,
    })
  })

  it('exits with 4 when nobody answers, as an object with --json', async () => {
    await Promise.all(cluster.agents.map((agent) => agent.stop()))
    const text = await runCli(['why', ...data()])
    expect(text).toMatchObject({ code: 4, stdout: '' })
    expect(text.stderr).toMatch(/^error unreachable: .*\nHINT: /)
    const json = await runCli(['why', '--json', ...data()])
    expect(json).toMatchObject({ code: 4, stderr: '' })
    expect(JSON.parse(json.stdout)).toEqual({
      error: { code: 'unreachable', message: expect.any(String), hint: expect.any(String) },
    })
  })

  it('knows the nodes of the cluster', async () => {
    const result = await runCli(['why', 'alhpa', ...data()])
    expect(result.code).toBe(1)
    expect(result.stderr).toContain('did you mean alpha?')
  })
})

describe('events', () => {
  beforeEach(() => {
    const [alpha, bravo] = cluster.agents
    alpha.events = [event('alpha', 1, 0), event('alpha', 2, 4)]
    // An agent may know events of others too.
    bravo.events = [event('bravo', 1, 2), event('alpha', 2, 4)]
  })

  it('merges those of all nodes by time, each once', async () => {
    const result = await runCli(['events', '--json', ...data()])
    expect(result.code).toBe(0)
    expect(JSON.parse(result.stdout)).toEqual([
      event('alpha', 1, 0),
      event('bravo', 1, 2),
      event('alpha', 2, 4),
    ])
  })

  it('prints the newest as lines', async () => {
    const result = await runCli(['events', '--limit', '2', ...data()])
    expect(result.stdout.trim().split('\n')).toEqual([
      '2026-11-22T12:00:02.000Z  bravo     joined          bravo number 1',
      '2026-11-22T12:00:04.000Z  alpha     joined          alpha number 2',
    ])
  })

  it('exits with 4 when nobody answers', async () => {
    await Promise.all(cluster.agents.map((agent) => agent.stop()))
    expect((await runCli(['events', ...data()])).code).toBe(4)
  })

  it('follows: prints what is known, then what happens, each once, one object per line', async () => {
    const [alpha, bravo] = cluster.agents
    const child = startCli(['events', '--follow', '--json', ...data()])
    const result = collect(child)
    while (cluster.agents.some((agent) => agent.followers === 0))
      await new Promise((resolve) => setTimeout(resolve, 10))
    const lines = lineCounter(child)
    alpha.emit(event('alpha', 3, 10))
    bravo.emit(event('alpha', 3, 10))
    bravo.emit(event('bravo', 2, 11))
    await lines(2)
    child.kill('SIGINT')
    const { code, stdout } = await result
    expect(code).toBe(0)
    const followed = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { node: string; id: number })
    expect(followed.slice(0, 3).map(({ node, id }) => `${node}${id}`)).toEqual(['alpha1', 'bravo1', 'alpha2'])
    expect(
      followed
        .slice(3)
        .map(({ node, id }) => `${node}${id}`)
        .sort(),
    ).toEqual(['alpha3', 'bravo2'])
  })
})

/** Waits until so many more lines were printed. */
function lineCounter(child: ReturnType<typeof startCli>): (count: number) => Promise<void> {
  let seen = 0
  child.stdout?.on('data', (text: string) => {
    seen += text.split('\n').length - 1
  })
  return async (count) => {
    while (seen < count) await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
