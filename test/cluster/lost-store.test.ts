/**
 * The store is restored from an old copy, and then loses everything, under a cluster that runs. Nobody acts on what it says, writes go on,
 * and one command puts back what the nodes know: nothing that was acknowledged is lost.
 */
import { renameSync, rmSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { RecoverStoreAnswer } from '../../src/api/contract.ts'
import { said, startCluster, type TestCluster } from '../support/cluster-harness.ts'
import type { Writer } from '../support/cluster-writer.ts'

describe('a store that has forgotten something', () => {
  let cluster: TestCluster
  let writer: Writer

  beforeAll(async () => {
    cluster = await startCluster()
    await cluster.healthy()
    writer = cluster.writer().start()
  })

  afterAll(async () => {
    await writer.stop()
    await cluster.remove()
  })

  function directory(name: string): string {
    return path.join(cluster.data, name)
  }

  /** Its process ends, and the supervisor starts it again on what lies there then. */
  async function replaceStore(by: string | null, keptAs: string): Promise<void> {
    renameSync(directory('store'), directory(keptAs))
    if (by !== null) renameSync(directory(by), directory('store'))
    await cluster.kill(cluster.storePid())
  }

  async function recover(...args: readonly string[]) {
    const result = await cluster.run(['recover-store', ...args, '--json'])
    try {
      return {
        code: result.code,
        answer: JSON.parse(result.stdout) as RecoverStoreAnswer & { error?: { code: string } },
      }
    } catch {
      throw new Error(cluster.explain(`recover-store ended with ${result.code}:\n${said(result)}`))
    }
  }

  async function seenAsProblem(code: string): Promise<void> {
    const problem = await cluster.waitFor(`the problem ${code}`, () => cluster.problem(code, 'charlie'))
    expect(problem.hint).toContain('understudy recover-store')
  }

  async function writesGoOn(): Promise<void> {
    const before = writer.acknowledged.length
    await cluster.waitFor('more writes', async () => writer.acknowledged.length > before + 5 || null)
  }

  test('a store that knows everything is left as it is', async () => {
    const { code, answer } = await recover('--yes')
    expect({ code, ...answer }).toMatchObject({ code: 1, error: { code: 'nothing-to-recover' } })
  })

  test('restored from before a switchover: writes go on, and the command puts the epochs back', async () => {
    cluster.runAsOwner('cp', ['-a', directory('store'), directory('store.before')])
    const switched = await cluster.run(['switchover', '--to', 'bravo', '--yes'])
    expect(switched.code, said(switched)).toBe(0)
    await cluster.healthy()
    await replaceStore('store.before', 'store.after')
    await seenAsProblem('store-stale')
    await writesGoOn()
    // What the nodes know is shown all the same, and what the store would say is not.
    expect(await cluster.status()).toMatchObject({ epoch: 2, primary: 'bravo', healthy: false })
    const refused = await cluster.run(['switchover', '--to', 'alpha', '--yes'])
    expect(said(refused)).toContain('store-stale')

    const shown = await recover('--dry-run')
    expect(shown).toMatchObject({
      code: 0,
      answer: { store: { epoch: 1 }, epoch: 3, losses: [], accepted: false },
    })
    const done = await recover('--yes')
    expect(done).toMatchObject({ code: 0, answer: { accepted: true, epoch: 3 } })
    expect(await cluster.healthy()).toMatchObject({ epoch: 3 })
    await writesGoOn()
    await cluster.checkAllPresent(writer)
  })

  test('emptied, and a node with an empty disk beside it: nobody begins a cluster, and what is left is put back', async () => {
    const { primary } = await cluster.healthy()
    const lost = ['alpha', 'bravo'].find((name) => name !== primary) ?? ''
    await cluster.withNodeDown(lost, async () => {
      await replaceStore(null, 'store.lost')
      rmSync(cluster.dataDirectory(lost), { recursive: true })
      rmSync(path.join(cluster.nodeDirectory(lost), 'state'), { recursive: true })
    })
    await seenAsProblem('store-empty')
    await cluster.waitFor('the empty node to be told', async () => {
      const { rule } = JSON.parse((await cluster.run(['why', lost, '--json'])).stdout || '{}') as {
        rule?: string
      }
      return rule === 'store-stale' || null
    })
    await writesGoOn()

    // What the empty node may have begun before it was told is of another cluster, and was never published.
    const { code } = (await recover('--yes')).answer.error ?? { code: null }
    expect(['member-silent', 'system-identifier']).toContain(code)
    expect((await recover('--yes', '--without', lost)).answer.error).toMatchObject({ code: 'data-loss' })
    const done = await recover('--yes', '--without', lost, '--accept-data-loss')
    expect(done, JSON.stringify(done)).toMatchObject({ code: 0, answer: { accepted: true } })
    await cluster.healthy()
    await writesGoOn()
    await cluster.checkAllPresent(writer)
  })
})
