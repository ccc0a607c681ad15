/** What the torture has found, each as a story that ended badly before. */
import { describe, expect, test } from 'vitest'
import { checkRound } from '../lab/clients/final.ts'
import { cutBetween, cutBoth } from '../lab/network.ts'
import { closeLab, hasDebian, openLab, openWorkload } from './fixture.ts'

/** wal_sender_timeout at this rto: how long a walsender that nobody reaches would hold its slot. */
const WALSENDER_MS = 10_000

describe.skipIf(!hasDebian)('stories (apt install postgresql-15)', () => {
  test('the new primary dies before the old one has come back to it: the two that are left go on', async () => {
    const lab = await openLab({ pg: '15', rtoMs: 1_000 })
    const clients = await openWorkload(lab)
    const old = await lab.primary()
    if (old === null) throw new Error('no primary')
    const others = lab.nodes.map(({ name }) => name).filter((name) => name !== old)

    const mend = await lab.part(cutBetween([old], [...others, ...lab.store.members]))
    const elected = await lab.waitFor('a new primary', async () => {
      const { primacy } = (await lab.facts()) ?? {}
      const { primary, phase } = primacy?.value ?? {}
      return phase === 'steady' && primary !== old && primary
    })
    await lab.node(elected).kill('node')
    await mend()
    // The old primary stops in order and cannot follow anybody: its vote is the one that is missing.
    const last = others.find((name) => name !== elected)
    await lab.waitFor('another new primary', async () => {
      const { primacy } = (await lab.facts()) ?? {}
      return primacy?.value.phase === 'steady' && primacy.value.primary === last
    })

    lab.node(elected).startAgent()
    await lab.healthy()
    await clients.end()
    expect((await checkRound(lab, clients)).violations).toEqual([])
    await closeLab(lab)
  })

  test('behind a silent cut no walsender holds a slot, which would keep its standby out when it comes back', async () => {
    const lab = await openLab({ pg: '15', rtoMs: 1_000 })
    const clients = await openWorkload(lab)
    const primary = await lab.primary()
    if (primary === null) throw new Error('no primary')
    const standbys = lab.nodes.map(({ name }) => name).filter((name) => name !== primary)

    await lab.pause('only the streams are looked at here')
    const mend = await lab.part(cutBetween([primary], standbys))
    await lab.waitFor(
      'the walsenders to end',
      () => lab.node(primary).pidsOfBackends('walsender').length === 0,
      { deadlineMs: WALSENDER_MS - 3_000 },
    )
    await mend()
    await lab.healthy()

    await lab.pause(null)
    await clients.end()
    expect((await checkRound(lab, clients)).violations).toEqual([])
    await clients.close()
    await closeLab(lab)
  })

  test('a standby that takes no WAL does not keep its primary from stopping', async () => {
    const lab = await openLab({ pg: '15', rtoMs: 2_000 })
    const clients = await openWorkload(lab)
    const primary = await lab.primary()
    if (primary === null) throw new Error('no primary')
    const [first = '', second = ''] = lab.nodes.map(({ name }) => name).filter((name) => name !== primary)
    const mend = await lab.part(cutBoth(primary, first))
    lab.node(second).freeze('postgres')
    const beganAtMs = performance.now()
    await lab.node(primary).stopAgent()
    expect(performance.now() - beganAtMs).toBeLessThan(WALSENDER_MS - 3_000)
    await mend()
    await lab.mend()
    await lab.healthy()
    await clients.end()
    expect((await checkRound(lab, clients)).violations).toEqual([])
    await clients.close()
    await closeLab(lab)
  })
})
