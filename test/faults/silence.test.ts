/** Stories of nodes that are silent: frozen, cut off in every shape, or with a clock that jumps. */
import { describe, expect } from 'vitest'
import { findFaketime } from '../lab/clock.ts'
import { CLIENTS, cutBetween, cutBoth } from '../lab/network.ts'
import type { Part } from '../lab/node.ts'
import { hasDebian, isLater, kindsOf, newPrimary, nothingHappens, since, stage, writesGoOn } from './stage.ts'

const RTO_MS = 1_000
/** Longer than any decision about it takes. */
const LONG_MS = 3 * RTO_MS

/** wal_sender_timeout at this rto: how long a walsender that nobody reaches would hold its slot. */
const WALSENDER_MS = 10_000

describe.skipIf(!hasDebian)('who is silent (apt install postgresql-15)', () => {
  const { story, storyIf } = stage({ pg: '15', rtoMs: RTO_MS, canStepClock: true })

  for (const part of ['node', 'postgres'] as const satisfies readonly Part[]) {
    story(
      `the primary, frozen (${part}): another takes over, and what wakes up acknowledges nothing (P2)`,
      async (scene) => {
        const { lab, primary } = scene
        lab.node(primary).freeze(part)
        expect(await newPrimary(scene)).not.toBe(primary)
        await writesGoOn(scene)
        lab.node(primary).thaw()
        await writesGoOn(scene)
      },
    )
  }

  story('the agent of the primary, frozen: PostgreSQL streams, so nothing happens', async (scene) => {
    const { lab, primary } = scene
    lab.node(primary).freeze('agent')
    await nothingHappens(scene, LONG_MS)
    await writesGoOn(scene, primary)
  })

  story('a standby, frozen: writes go on with the other one', async (scene) => {
    const { lab, standbys } = scene
    const [standby = ''] = standbys
    lab.node(standby).freeze('node')
    await writesGoOn(scene)
    await nothingHappens(scene, LONG_MS)
    await writesGoOn(scene)
  })

  story(
    'the primary, cut from the standbys and not from the store: it sees the election, and stops by itself',
    async (scene) => {
      const { lab, primary, standbys } = scene
      const mend = await lab.part(cutBetween([primary], standbys))
      expect(await newPrimary(scene)).not.toBe(primary)
      // Nobody can tell it but the store, and its clients still reach it.
      await lab.waitFor(
        'the old primary to be no primary any more',
        async () => (await lab.why()).find(({ node }) => node === primary)?.rule !== 'keep-running',
      )
      await writesGoOn(scene)
      await mend()
    },
  )

  story(
    'the primary, cut from the store and not from the standbys: writes go on, and nobody is elected',
    async (scene) => {
      const { lab, primary } = scene
      const mend = await lab.part(cutBetween([primary], lab.store.members))
      await nothingHappens(scene, LONG_MS)
      await writesGoOn(scene, primary)
      await mend()
    },
  )

  story(
    'the primary, cut from all but its clients: what it alone has is taken back, and nobody was told otherwise',
    async (scene) => {
      const { lab, primary, standbys, clients } = scene
      const at = since()
      const mend = await lab.part(cutBetween([primary], [...standbys, ...lab.store.members]))
      expect(await newPrimary(scene)).not.toBe(primary)
      await writesGoOn(scene)
      await mend()
      await lab.healthy()
      // The end of its timeline had been written there and nowhere else.
      expect(kindsOf(scene, primary, at)).toContain('rewind-done')
      expect(clients.operations.some(({ outcome }) => outcome === 'unknown')).toBe(true)
    },
  )

  story(
    'a standby, cut from the primary only: the other one streams, so nobody is elected',
    async (scene) => {
      const { lab, primary, standbys } = scene
      const [standby = ''] = standbys
      const mend = await lab.part(cutBoth(primary, standby))
      await nothingHappens(scene, LONG_MS)
      await writesGoOn(scene, primary)
      await mend()
    },
  )

  story('what the primary sends, one way: it hears everybody, and nobody hears it', async (scene) => {
    const { lab, primary, standbys } = scene
    const everybody = [...standbys, ...lab.store.members, CLIENTS]
    const mend = await lab.part(everybody.map((to) => ({ from: primary, to, how: 'drop' as const })))
    expect(await newPrimary(scene)).not.toBe(primary)
    await mend()
    await writesGoOn(scene)
  })

  story(
    'the standbys, behind a silent cut: no walsender holds a slot, which would keep its standby out when it comes back',
    async (scene) => {
      const { lab, primary, standbys } = scene
      await lab.pause('only the streams are looked at here')
      const mend = await lab.part(cutBetween([primary], standbys))
      await lab.waitFor(
        'the walsenders to end',
        () => lab.node(primary).pidsOfBackends('walsender').length === 0,
        { deadlineMs: WALSENDER_MS - 3_000 },
      )
      await mend()
      await writesGoOn(scene)
      await lab.pause(null)
    },
  )

  story(
    'both standbys, when the primary stops: that they take no WAL does not keep it from stopping',
    async (scene) => {
      const { lab, primary, standbys } = scene
      const [first = '', second = ''] = standbys
      const mend = await lab.part(cutBoth(primary, first))
      lab.node(second).freeze('postgres')
      const beganAtMs = performance.now()
      await lab.node(primary).stopAgent()
      expect(performance.now() - beganAtMs).toBeLessThan(WALSENDER_MS - 3_000)
      await mend()
    },
  )

  storyIf(
    findFaketime() !== null,
    'nobody, but clocks jump by hours: nothing happens, and a switchover works',
    async (scene) => {
      const { lab, primary, standbys, epoch, sight } = scene
      const [first = '', second = ''] = standbys
      lab.node(primary).stepClock(3 * 3_600)
      lab.node(first).stepClock(-5 * 3_600)
      await nothingHappens(scene, LONG_MS)
      await writesGoOn(scene, primary)
      await lab.switchover(second)
      await sight.until(
        'the switchover',
        ({ primacy }) => isLater(primacy, epoch) && primacy.primary === second && primacy.phase === 'steady',
      )
      await writesGoOn(scene, second)
    },
  )
})
