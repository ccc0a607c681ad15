/** Stories of data: disks that are full, gone, or of the wrong content, and state that was forgotten (I8, I11, I12). */
import { readdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect } from 'vitest'
import { mayMount } from '../lab/disk.ts'
import { CLIENTS, cutBetween, cutBoth } from '../lab/network.ts'
import {
  hasDebian,
  isLater,
  kindsOf,
  newPrimary,
  nothingHappens,
  type Scene,
  since,
  stage,
  writesGoOn,
} from './stage.ts'

const RTO_MS = 1_000
const canFill = mayMount()

describe.skipIf(!hasDebian)('what is on disk (apt install postgresql-15)', () => {
  const { story, storyIf } = stage({ pg: '15', rtoMs: RTO_MS, candidatePriority: { charlie: 0 } })

  storyIf(
    canFill,
    'a full disk of a standby: writes go on, and it comes back when there is room',
    async (scene) => {
      const { lab, primary, standbys } = scene
      const [standby = ''] = standbys
      await lab.node(standby).fillDisk()
      await useUpSegments(scene, primary)
      await writesGoOn(scene)
      await nothingHappens(scene, RTO_MS)
      lab.node(standby).freeDisk()
    },
  )

  storyIf(canFill, 'a full disk of the primary: one that has room takes over', async (scene) => {
    const { lab, primary } = scene
    await lab.node(primary).fillDisk()
    await useUpSegments(scene, primary).catch(() => {})
    expect(await newPrimary(scene)).not.toBe(primary)
    await writesGoOn(scene)
    lab.node(primary).freeDisk()
  })

  story('a standby with an empty disk: it is cloned, and nobody else notices', async (scene) => {
    const { lab, standbys } = scene
    const [standby = ''] = standbys
    const at = since()
    await lab.node(standby).kill('node')
    wipe(scene, standby, ['data', 'state'])
    lab.node(standby).startAgent()
    await writesGoOn(scene)
    await lab.healthy()
    await nothingHappens(scene, 0)
    expect(kindsOf(scene, standby, at)).toContain('cloned')
  })

  story(
    'the disk and the promises of a standby that acknowledged, with the store away, and then the primary: nobody is elected (I12)',
    async (scene) => {
      const { lab, primary, standbys } = scene
      const [lost = ''] = standbys
      await writesGoOn(scene)
      await Promise.all([
        lab.node(lost).kill('node'),
        ...lab.store.members.map((member) => lab.store.kill(member)),
      ])
      wipe(scene, lost, ['data', 'state'])
      lab.node(lost).startAgent()
      await lab.node(primary).kill('node')
      lab.store.start()
      await lab.waitFor('the store', () => lab.facts())
      // What one of the two may have acknowledged alone is known to nobody but the primary now.
      await nothingHappens(scene, 4 * RTO_MS)
      lab.node(primary).startAgent()
      await writesGoOn(scene)
    },
  )

  story(
    'the promises of a standby, while the primary is lost: it asks the store before it votes (I12)',
    async (scene) => {
      const { lab, primary, standbys, sight } = scene
      const [forgetful = ''] = standbys
      await Promise.all([lab.node(primary).kill('node'), lab.node(forgetful).kill('node')])
      wipe(scene, forgetful, ['state'])
      lab.node(forgetful).startAgent()
      await newPrimary(scene)
      await writesGoOn(scene)
      expect(sight.now.primacy?.epoch).toBeGreaterThan(scene.epoch)
    },
  )

  story(
    'a standby without a vote for itself (candidatePriority 0) is ahead of the other: it is elected, loses nothing, and gives the office on (I4)',
    async (scene) => {
      const { lab, sight } = scene
      const { primary } = await moveTo(scene, 'alpha')
      const mend = await lab.part(cutBoth(primary, 'bravo'))
      await writesGoOn(scene)
      await lab.node(primary).kill('node')
      // Mended earlier, the dead primary's kernel would still deliver to bravo what waited in its socket.
      const first = await sight.until('charlie', ({ primacy }) => primacy?.primary === 'charlie' && primacy)
      await mend()
      expect(first.epoch).toBeGreaterThan(scene.epoch)
      await writesGoOn(scene)
      lab.node(primary).startAgent()
      await sight.until(
        'the office to be given on',
        ({ primacy }) =>
          isLater(primacy, first.epoch) && primacy.phase === 'steady' && primacy.primary !== 'charlie',
      )
      await writesGoOn(scene)
    },
  )

  story(
    'the source of a rewind dies: what the rewound node had before is voted as gone, and counts (I12)',
    async (scene) => {
      const { lab, sight, primary, standbys } = scene
      const others = [...standbys, ...lab.store.members, CLIENTS]
      const mend = await lab.part(cutBetween([primary], others.slice(0, -1)))
      const source = await newPrimary(scene)
      await writesGoOn(scene)
      const kill = lab.node(source).aim('node')
      const killed = sight.until('a rewind', ({ reports }) =>
        reports.get(primary)?.state === 'rewinding' ? { done: kill() } : null,
      )
      await mend()
      await (await killed).done
      await sleep(2 * RTO_MS)
      lab.node(source).startAgent()
      await writesGoOn(scene)
    },
  )
})

/** What WAL segments are there already can still be written. */
async function useUpSegments({ lab }: Scene, primary: string): Promise<void> {
  for (let i = 0; i < 8; i++) {
    await lab.sql(primary, 'SELECT pg_switch_wal()')
    await sleep(100)
  }
}

/** As a new disk has them: empty. Nothing of the node runs. */
function wipe({ lab }: Scene, node: string, names: readonly string[]): void {
  for (const name of names) {
    const directory = path.join(lab.node(node).directory, name)
    for (const entry of readdirSync(directory))
      rmSync(path.join(directory, entry), { recursive: true, force: true })
  }
}

/** By a switchover, unless it is primary already. */
async function moveTo(scene: Scene, node: string): Promise<{ readonly primary: string }> {
  const { lab, sight, primary } = scene
  if (primary !== node) {
    await lab.switchover(node)
    await sight.until(
      `${node} as primary`,
      ({ primacy }) => primacy?.primary === node && primacy.phase === 'steady',
    )
    await lab.healthy()
  }
  return { primary: node }
}
