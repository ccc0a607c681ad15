/** `understudy status` against agents that are well, sick, hung, strange or gone: what it prints, and the exit code that scripts read. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { ClusterStatus } from '../../src/api/contract.ts'
import { collect, runCli, startCli } from '../support/cli.ts'
import { type FakeCluster, startFakeCluster } from '../support/fake-cluster.ts'

let cluster: FakeCluster
beforeEach(async () => {
  cluster = await startFakeCluster()
})
afterEach(() => cluster.stop())

const data = (): string[] => ['--data', cluster.directory]
const setAll = (status: ClusterStatus): void => {
  for (const agent of cluster.agents) agent.cluster = status
}

describe('status', () => {
  it('prints the board of a healthy cluster and exits with 0', async () => {
    const result = await runCli(['status', ...data()])
    expect(result).toMatchObject({ code: 0, stderr: '' })
    expect(result.stdout).toContain('each commit waits for 1 of bravo, charlie')
    expect(result.stdout).toContain(`psql --data '${cluster.directory}'`)
    expect(result.stdout).not.toContain('\u001b')
  })

  it('prints with --json exactly what the agent said', async () => {
    const result = await runCli(['status', '--json', ...data()])
    expect(result.code).toBe(0)
    expect(JSON.parse(result.stdout)).toEqual(cluster.status)
  })

  it('finds the cluster by UNDERSTUDY_DATA and by --config too', async () => {
    const byEnvironment = await runCli(['status', '--json'], { env: { UNDERSTUDY_DATA: cluster.directory } })
    const byConfig = await runCli(['status', '--json', '--config', `${cluster.directory}/understudy.yaml`])
    expect([byEnvironment.code, byConfig.code]).toEqual([0, 0])
    expect(byConfig.stdout).toBe(byEnvironment.stdout)
  })

  it('exits with 3 when the cluster is reachable and not healthy', async () => {
    setAll({ ...cluster.status, healthy: false })
    const result = await runCli(['status', ...data()])
    expect(result.code).toBe(3)
    expect(result.stdout).toContain('Not healthy')
  })

  it('exits with 4 when no agent answers, and lists every node as unreachable', async () => {
    await Promise.all(cluster.agents.map((agent) => agent.stop()))
    const text = await runCli(['status', ...data()])
    expect(text.code).toBe(4)
    expect(text.stdout).toContain('Nothing answers')
    const json = await runCli(['status', '--json', ...data()])
    expect(json.code).toBe(4)
    const status = JSON.parse(json.stdout) as ClusterStatus
    expect(status).toMatchObject({ cluster: 'main', healthy: false, primary: null, quorum: null })
    expect(status.nodes.map(({ name, state }) => [name, state])).toEqual([
      ['alpha', 'unreachable'],
      ['bravo', 'unreachable'],
      ['charlie', 'unreachable'],
    ])
    expect(Object.keys(status).sort()).toEqual(Object.keys(cluster.status).sort())
    expect(Object.keys(status.nodes[0] ?? {}).sort()).toEqual(
      Object.keys(cluster.status.nodes[0] ?? {}).sort(),
    )
  })

  it('exits with 1 and a hint where there is no cluster', async () => {
    const result = await runCli(['status', '--data', `${cluster.directory}/elsewhere`])
    expect(result).toMatchObject({ code: 1, stdout: '' })
    expect(result.stderr).toMatch(/^error not-found: .*\nHINT: .*understudy up/)
  })
})

describe('agents that do not answer as they should', () => {
  it.each(['hangs', 'hangsHalfway'] as const)(
    'one that %s does not keep the others from answering',
    async (behaviour) => {
      const usual = await runCli(['status', ...data()])
      cluster.agents[0].behaviour = behaviour
      const result = await runCli(['status', ...data()])
      expect(result.code).toBe(0)
      expect(result.tookMs).toBeLessThan(usual.tookMs + 1_500)
    },
  )

  it.each(['hangs', 'hangsHalfway'] as const)(
    'all of which %s are given up after the deadline',
    async (behaviour) => {
      for (const agent of cluster.agents) agent.behaviour = behaviour
      const result = await runCli(['status', ...data()])
      expect(result.code).toBe(4)
      expect(result.tookMs).toBeLessThan(15_000)
    },
  )

  it.each(['nonsense', 'stranger'] as const)('%s is not believed', async (behaviour) => {
    for (const agent of cluster.agents) agent.behaviour = behaviour
    expect((await runCli(['status', ...data()])).code).toBe(4)
  })

  it('believes the agent that knows more, not the one that is faster', async () => {
    const [cutOff, ...others] = cluster.agents
    cutOff.cluster = { ...cluster.status, healthy: false, epoch: 2, primary: null }
    for (const agent of others) agent.cluster = { ...cluster.status, healthy: false, epoch: 3 }
    const result = await runCli(['status', '--json', ...data()])
    expect(result.code).toBe(3)
    expect((JSON.parse(result.stdout) as ClusterStatus).epoch).toBe(3)
  })
})

describe('output', () => {
  it('has colours when they are forced, and none under NO_COLOR', async () => {
    const forced = await runCli(['status', ...data()], { env: { FORCE_COLOR: '1' } })
    const refused = await runCli(['status', ...data()], { env: { NO_COLOR: '1' } })
    expect(forced.stdout).toContain('\u001b[')
    expect(refused.stdout).not.toContain('\u001b')
  })

  it('survives a reader that leaves', async () => {
    const child = startCli(['status', '--watch', ...data()])
    let stderr = ''
    child.stderr?.on('data', (chunk: Buffer) => {
      stderr += String(chunk)
    })
    child.stdout?.once('data', () => {
      child.stdout?.destroy()
      // The next write finds out.
      setAll({ ...cluster.status, healthy: false })
    })
    const code = await new Promise((resolve) => child.once('exit', resolve))
    expect(stderr).toBe('')
    expect(code).toBe(0)
  })
})

describe('status --watch without a terminal', () => {
  it('prints a new board for a change, none for a lag that moves, and leaves at SIGINT', async () => {
    const child = startCli(['status', '--watch', ...data()])
    const result = collect(child)
    const askedOften = async (times: number): Promise<void> => {
      const count = (): number => cluster.agents.reduce((sum, agent) => sum + agent.asked.length, 0)
      const from = count()
      while (count() < from + times * cluster.agents.length) await new Promise((wake) => setTimeout(wake, 20))
    }
    await askedOften(1)
    const moved = cluster.status.nodes.map((node) => ({ ...node, replayLagBytes: 7, flushLsn: '0/9' }))
    setAll({ ...cluster.status, nodes: moved })
    await askedOften(2)
    setAll({ ...cluster.status, healthy: false })
    await askedOften(2)
    child.kill('SIGINT')
    const { code, stdout } = await result
    expect(code).toBe(0)
    expect(stdout.match(/^--- /gm)).toHaveLength(2)
    expect(stdout.indexOf('Healthy.')).toBeLessThan(stdout.indexOf('Not healthy'))
  })
})
