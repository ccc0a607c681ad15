/** Stories of a rule that changes, and of who stands outside it (docs/failover.md, "Changing the rule"). */
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect } from 'vitest'
import type { Primacy } from '../../src/core/primacy.ts'
import { cutBoth } from '../lab/network.ts'
import { hasDebian, kindsOf, newPrimary, type Scene, since, stage, writesGoOn } from './stage.ts'

/** After so long a lost standby is removed at this rto, whatever it is: lostDelayMs in src/core/quorum.ts. */
const RTO_MS = 1_000

describe.skipIf(!hasDebian)('the rule (apt install postgresql-15)', () => {
  const { story } = stage({ pg: '15', rtoMs: RTO_MS })

  story(
    'a lost standby leaves it, though the agent of the primary dies at each step; then the primary dies when the standby comes in again',
    async (scene) => {
      const { lab, sight, primary, standbys, epoch } = scene
      const [lost = '', left = ''] = standbys
      await lab.node(lost).kill('node')
      await begins(scene, [left])
      await restartAgent(scene)
      await stands(scene, [left])
      await restartAgent(scene)
      await writesGoOn(scene)
      const kill = lab.node(primary).aim('node')
      const killed = sight.until('the change back', ({ primacy }) =>
        primacy?.epoch === epoch && hasBegun(primacy, [lost, left]) ? { done: kill() } : null,
      )
      lab.node(lost).startAgent()
      await (await killed).done
      // Either rule may have been in effect: the votes must satisfy both.
      expect(standbys).toContain(await newPrimary(scene))
      await writesGoOn(scene)
    },
  )

  story(
    'who stands outside it is ahead when the primary dies, and what it has was never acknowledged',
    async (scene) => {
      const { lab, primary, standbys } = scene
      const [outside = '', inside = ''] = standbys
      await lab.node(outside).kill('node')
      await stands(scene, [inside])
      // Nobody can take it in again.
      lab.node(primary).freeze('agent')
      lab.node(outside).startAgent()
      await lab.waitFor(`${outside} to stream`, async () => {
        const names = 'SELECT 1 FROM pg_stat_replication WHERE application_name = $1'
        return (await lab.sql(primary, names, { values: [outside] })).length > 0
      })
      const mend = await lab.part(cutBoth(primary, inside))
      await sleep(500)
      await lab.node(primary).kill('node')
      await mend()
      expect(standbys).toContain(await newPrimary(scene))
      await writesGoOn(scene)
    },
  )

  story(
    'a standby was away for longer than its WAL was kept: it is cloned anew by itself, beside what it had',
    async (scene) => {
      const { lab, primary, standbys } = scene
      const [late = ''] = standbys
      const at = since()
      await lab.node(late).kill('node')
      // max_slot_wal_keep_size of the lab is ten segments.
      for (let segments = 0; segments < 16; segments++) {
        // A segment without content is not left.
        await lab.sql(primary, "SELECT pg_logical_emit_message(false, 'story', 'content')")
        await lab.sql(primary, 'SELECT pg_switch_wal()')
      }
      await lab.sql(primary, 'CHECKPOINT')
      lab.node(late).startAgent()
      await lab.waitFor(`${late} to be cloned`, () => kindsOf(scene, late, at).includes('cloned'))
      await writesGoOn(scene)
    },
  )
})

function hasBegun({ nextRule }: Primacy, standbys: readonly string[]): boolean {
  return nextRule !== null && sameNames(nextRule.standbys, standbys)
}

function sameNames(a: readonly string[], b: readonly string[]): boolean {
  return [...a].sort().join() === [...b].sort().join()
}

function begins({ sight }: Scene, standbys: readonly string[]): Promise<true> {
  const what = `the change to ${standbys.join(', ')}`
  return sight.until(what, ({ primacy }) => primacy !== null && hasBegun(primacy, standbys))
}

function stands({ sight }: Scene, standbys: readonly string[]): Promise<boolean> {
  return sight.until(
    `the rule of ${standbys.join(', ')}`,
    ({ primacy }) =>
      primacy?.nextRule === null &&
      primacy.rules.length === 1 &&
      sameNames(primacy.rules[0]?.standbys ?? [], standbys),
  )
}

async function restartAgent({ lab, primary }: Scene): Promise<void> {
  await lab.node(primary).kill('agent')
  lab.node(primary).startAgent()
}
