/** Stories of processes and nodes that die, each told on real servers while clients write. */
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect } from 'vitest'
import {
  hasDebian,
  isLater,
  kindsOf,
  newPrimary,
  nothingHappens,
  since,
  stage,
  writesGoOn,
  writesWait,
} from './stage.ts'

const RTO_MS = 1_000

describe.skipIf(!hasDebian)('who dies (apt install postgresql-15)', () => {
  const { story } = stage({ pg: '15', rtoMs: RTO_MS })

  story(
    'a standby: writes go on, nobody is elected, and it streams again as soon as it is back',
    async (scene) => {
      const { lab, standbys } = scene
      const [standby = ''] = standbys
      await lab.node(standby).kill('node')
      await writesGoOn(scene)
      await nothingHappens(scene, RTO_MS)
    },
  )

  story('both standbys: writes wait, and go on when one is back', async (scene) => {
    const { lab, standbys } = scene
    const [first = '', second = ''] = standbys
    await Promise.all([lab.node(first).kill('node'), lab.node(second).kill('node')])
    await writesWait(scene, 2 * RTO_MS)
    await nothingHappens(scene, 0)
    lab.node(first).startAgent()
    await writesGoOn(scene)
    await nothingHappens(scene, 0)
  })

  story('the primary and a standby at once: nobody is elected until either is back (I2)', async (scene) => {
    const { lab, primary, standbys } = scene
    const [lost = '', left = ''] = standbys
    // Looked up before, so that nothing can be voted in between.
    const kills = [lab.node(lost).aim('node'), lab.node(primary).aim('node')]
    await Promise.all(kills.map((kill) => kill()))
    await nothingHappens(scene, 3 * RTO_MS)
    lab.node(lost).startAgent()
    expect([lost, left]).toContain(await newPrimary(scene))
    await writesGoOn(scene)
  })

  story(
    'the primary while a standby is cloned: the clone is given up, and what the standby had is voted',
    async (scene) => {
      const { lab, sight, primary, standbys } = scene
      const [cloned = ''] = standbys
      const kill = lab.node(primary).aim('node')
      await lab.reinit(cloned)
      await sight.until('the clone', ({ reports }) => reports.get(cloned)?.state === 'cloning')
      await kill()
      expect(await newPrimary(scene)).not.toBe(primary)
      await writesGoOn(scene)
    },
  )

  story('the primary in the middle of a switchover', async (scene) => {
    const { lab, sight, primary, standbys, epoch } = scene
    const kill = lab.node(primary).aim('node')
    // Its agent answers when the switchover has begun, or does not live to answer.
    const asked = lab.switchover(standbys[0]).catch(() => {})
    await sight.until('the election', ({ primacy }) => isLater(primacy, epoch))
    await kill()
    await asked
    await newPrimary(scene)
    await writesGoOn(scene)
  })

  story(
    'the agent of the primary alone: PostgreSQL and its stream are alive, so nothing happens',
    async (scene) => {
      const { lab, primary } = scene
      await lab.node(primary).kill('agent')
      await writesGoOn(scene, primary)
      await nothingHappens(scene, 3 * RTO_MS)
      await writesGoOn(scene, primary)
    },
  )

  story('a backend of the primary: PostgreSQL restarts by itself and stays primary', async (scene) => {
    const { lab, primary } = scene
    const { process } = globalThis
    const [backend] = lab.node(primary).pidsOfBackends('app app')
    if (backend === undefined) throw new Error('no client is connected')
    process.kill(backend, 'SIGKILL')
    await writesGoOn(scene, primary)
    await nothingHappens(scene, 0)
  })

  story(
    'a postmaster over and over: a standby waits a little longer each time, and comes back',
    async (scene) => {
      const { lab, standbys } = scene
      const [standby = ''] = standbys
      const at = since()
      for (let deaths = 0; deaths < 5; deaths++) {
        await lab.waitFor(`${standby} to run`, () => lab.node(standby).postgresRuns)
        await lab.node(standby).kill('postmaster')
      }
      await writesGoOn(scene)
      await nothingHappens(scene, 0)
      expect(kindsOf(scene, standby, at)).not.toContain('clone')
    },
  )

  story(
    'a postmaster over and over: a primary that cannot stay up is replaced, and comes back as a standby',
    async (scene) => {
      const { lab, primary } = scene
      for (let deaths = 0; deaths < 3; deaths++) {
        await lab.node(primary).kill('postmaster')
        await sleep(100)
      }
      expect(await newPrimary(scene)).not.toBe(primary)
      await writesGoOn(scene)
    },
  )
})
