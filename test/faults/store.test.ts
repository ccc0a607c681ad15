/** Stories of a store that is away, or that has come back as it was before (docs/failover.md, "When the store is gone"). */
import { renameSync, rmSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect } from 'vitest'
import { run } from '../lab/shell.ts'
import { hasEtcd } from '../lab/store.ts'
import { hasDebian, isLater, newPrimary, nothingHappens, type Scene, stage, writesGoOn } from './stage.ts'

const RTO_MS = 1_000

describe.skipIf(!hasDebian || !hasEtcd)('the store (apt install postgresql-15 etcd-server)', () => {
  const { story } = stage({ pg: '15', rtoMs: RTO_MS, store: 'etcd' })

  story('one of three members dies: nobody notices', async (scene) => {
    const { lab, primary } = scene
    await lab.store.kill(lab.store.members[0] ?? '')
    await writesGoOn(scene, primary)
    await lab.node(primary).kill('node')
    expect(await newPrimary(scene)).not.toBe(primary)
    await writesGoOn(scene)
  })

  story(
    'all of it is away: writes go on, and when the primary dies nobody takes over until it is back',
    async (scene) => {
      const { lab, primary } = scene
      for (const member of lab.store.members) await lab.store.kill(member)
      await sleep(2 * RTO_MS)
      await writesGoOn(scene, primary)
      await lab.node(primary).kill('node')
      await sleep(3 * RTO_MS)
      lab.store.start()
      expect(await newPrimary(scene)).not.toBe(primary)
      await writesGoOn(scene)
    },
  )

  story(
    'it is away when the old primary boots: nothing is started from what the old primary remembers (I7)',
    async (scene) => {
      const { lab, primary } = scene
      await lab.node(primary).kill('node')
      await newPrimary(scene)
      for (const member of lab.store.members) await lab.store.kill(member)
      lab.node(primary).startAgent()
      await lab.waitFor('it to see that', async () =>
        (await lab.why()).some(({ node, rule }) => node === primary && rule === 'store-unreachable'),
      )
      await sleep(2 * RTO_MS)
      expect(lab.node(primary).postgresRuns).toBe(false)
      await writesGoOn(scene)
      lab.store.start()
    },
  )

  story(
    'it comes back as it was before a switchover: nothing acts on it, and what runs goes on (I1)',
    async (scene) => {
      const { lab, sight, standbys, epoch, primary } = scene
      const [to = ''] = standbys
      // With its owners.
      await exchangeStore(scene, () => run('cp', ['-a', storeOf(scene), `${storeOf(scene)}.before`]))
      await lab.switchover(to)
      await sight.until(
        'the switchover',
        ({ primacy }) => isLater(primacy, epoch) && primacy.phase === 'steady' && primacy.primary === to,
      )
      await exchangeStore(scene, () => {
        renameSync(storeOf(scene), `${storeOf(scene)}.after`)
        renameSync(`${storeOf(scene)}.before`, storeOf(scene))
      })
      await lab.waitFor('every node to see that', async () =>
        (await lab.why()).every(({ rule }) => rule === 'store-stale'),
      )
      // The document names a primary of an epoch that is over; that one must not write, and the right one must.
      expect((await lab.facts())?.primacy?.value).toMatchObject({ epoch, primary })
      await writesGoOn(scene, to)
      await exchangeStore(scene, () => {
        rmSync(storeOf(scene), { recursive: true })
        renameSync(`${storeOf(scene)}.after`, storeOf(scene))
      })
      await lab.waitFor('the right one', async () => (await lab.facts())?.primacy?.value.primary === to)
      await nothingHappens({ ...scene, epoch: sight.now.primacy?.epoch ?? 0, primary: to }, RTO_MS)
    },
  )
})

function storeOf({ lab }: Scene): string {
  return path.join(lab.directory, 'store')
}

/** Its members are down meanwhile. */
async function exchangeStore({ lab }: Scene, change: () => unknown): Promise<void> {
  for (const member of lab.store.members) await lab.store.kill(member)
  await change()
  lab.store.start()
  await lab.waitFor('every agent to read it', async () =>
    (await lab.why()).every(({ rule }) => rule !== 'store-unreachable'),
  )
}
