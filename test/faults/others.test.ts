/** Stories of clusters of another kind: without acknowledgements, where a lease tells who may write (I10), and of five nodes. */
import { describe, expect } from 'vitest'
import { cutBetween } from '../lab/network.ts'
import { hasDebian, isLater, newPrimary, type Scene, stage, writesGoOn } from './stage.ts'

const RTO_MS = 1_000

/** On any number of nodes. */
async function bothWakeUpLate(scene: Scene): Promise<void> {
  const { lab, sight, primary, epoch } = scene
  lab.node(primary).freeze('node')
  const candidate = await sight.until(
    'a candidate',
    ({ primacy }) => isLater(primacy, epoch) && primacy.phase === 'promoting' && primacy.primary,
  )
  lab.node(candidate).freeze('node')
  const later = sight.now.primacy?.epoch ?? 0
  await sight.until('the epoch after', ({ primacy }) => isLater(primacy, later) && primacy.phase === 'steady')
  await writesGoOn(scene)
  lab.node(primary).thaw()
  lab.node(candidate).thaw()
  await writesGoOn(scene)
}

describe.skipIf(!hasDebian)('async (apt install postgresql-15)', () => {
  const { story } = stage({ pg: '15', rtoMs: RTO_MS, durability: 'async' })

  story(
    'the primary is cut off, but for its clients: nobody is promoted before it has stopped, and it stops by itself (I10)',
    async (scene) => {
      const { lab, sight, primary, standbys, epoch } = scene
      const mend = await lab.part(cutBetween([primary], [...standbys, ...lab.store.members]))
      await sight.until(
        'a promotion',
        ({ primacy }) => isLater(primacy, epoch) && primacy.phase === 'steady' && primacy.primary !== primary,
      )
      expect(lab.node(primary).postgresRuns).toBe(false)
      await writesGoOn(scene)
      await mend()
    },
  )

  story('the frozen old primary and the frozen candidate wake up two epochs later (P2)', bothWakeUpLate)
})

describe.skipIf(!hasDebian)('five nodes, two acknowledgements (apt install postgresql-15)', () => {
  const { story } = stage({ pg: '15', rtoMs: RTO_MS, nodes: 5, store: 'etcd1' })

  story('the primary and a standby die at once: the three that are left satisfy I2', async (scene) => {
    const { lab, primary, standbys } = scene
    const [lost = ''] = standbys
    await Promise.all([lab.node(primary).kill('node'), lab.node(lost).kill('node')])
    await newPrimary(scene)
    await writesGoOn(scene)
  })

  story('the frozen old primary and the frozen candidate wake up two epochs later (P2)', bothWakeUpLate)

  story(
    'two of five are cut off with the primary: it can acknowledge nothing there, and the others go on',
    async (scene) => {
      const { lab, primary, standbys } = scene
      const [beside = '', ...others] = standbys
      const mend = await lab.part(cutBetween([primary, beside], [...others, ...lab.store.members]))
      expect(others).toContain(await newPrimary(scene))
      await writesGoOn(scene)
      await mend()
    },
  )
})
