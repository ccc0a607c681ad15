/** Stories of elections that are interrupted: whoever has just done a step dies, is frozen, or is alone. */
import { describe, expect } from 'vitest'
import type { Primacy } from '../../src/core/primacy.ts'
import { cutBetween, cutBoth } from '../lab/network.ts'
import type { Part } from '../lab/node.ts'
import { signal } from '../support/cluster-processes.ts'
import { hasDebian, isLater, newPrimary, type Scene, stage, writesGoOn } from './stage.ts'

const RTO_MS = 1_000

interface Step {
  readonly name: string
  readonly phase: 'electing' | 'promoting'
  readonly part: Part
  victim(primacy: Primacy, scene: Scene): string
}

const elector = (primacy: Primacy): string => primacy.startedBy
const elected = (primacy: Primacy): string => primacy.primary
/** Whom the elected node waits for: the other standby of the primary that died. */
const other = ({ primary }: Primacy, { standbys }: Scene): string =>
  standbys.find((name) => name !== primary) ?? ''

/** Who dies is dead before the next step, or right behind it: either way it must go on. */
const STEPS: readonly Step[] = [
  { name: 'the elector after it called the election', phase: 'electing', part: 'node', victim: elector },
  { name: 'the agent of the elector, right then', phase: 'electing', part: 'agent', victim: elector },
  { name: 'the elected node before or in its promotion', phase: 'promoting', part: 'node', victim: elected },
  { name: 'the agent of the elected node', phase: 'promoting', part: 'agent', victim: elected },
  { name: 'PostgreSQL of the elected node', phase: 'promoting', part: 'postgres', victim: elected },
  { name: 'the one that was to follow', phase: 'promoting', part: 'node', victim: other },
]

describe.skipIf(!hasDebian)('an election, interrupted (apt install postgresql-15)', () => {
  const { story } = stage({ pg: '15', rtoMs: RTO_MS })

  for (const { name, phase, part, victim } of STEPS) {
    story(`by the death of ${name}: with two of three nodes back it goes on`, async (scene) => {
      const { lab, sight, primary, epoch } = scene
      const aims = new Map(lab.nodes.map((node) => [node.name, node.aim(part)]))
      const killed = sight.until(phase, ({ primacy }) => {
        if (!isLater(primacy, epoch) || primacy.phase !== phase) return null
        const node = victim(primacy, scene)
        return { node, done: aims.get(node)?.() }
      })
      await lab.node(primary).kill('node')
      const { node, done } = await killed
      await done
      lab.node(node).startAgent()
      await newPrimary(scene)
      await writesGoOn(scene)
    })
  }

  story(
    'by the death of the elected node when it was promoted and nobody had followed; then all come back',
    async (scene) => {
      const { lab, sight, primary, standbys, epoch } = scene
      const [first = '', second = ''] = standbys
      // So nobody can follow whoever is elected.
      const mend = await lab.part(cutBoth(first, second))
      await lab.node(primary).kill('node')
      const alone = await sight.until(
        'a promotion',
        ({ primacy, reports }) =>
          isLater(primacy, epoch) &&
          primacy.phase === 'promoting' &&
          reports.get(primacy.primary)?.role === 'primary' &&
          primacy.primary,
      )
      await lab.node(alone).kill('node')
      await mend()
      lab.node(primary).startAgent()
      expect(await newPrimary(scene)).not.toBe(alone)
      await writesGoOn(scene)
    },
  )

  story(
    'by the death of the new primary before the old one has come back to it: the two that are left go on',
    async (scene) => {
      const { lab, sight, primary, standbys } = scene
      const mend = await lab.part(cutBetween([primary], [...standbys, ...lab.store.members]))
      const elected = await newPrimary(scene)
      await lab.node(elected).kill('node')
      await mend()
      // The old primary stops in order and cannot follow anybody: its vote is the one that is missing.
      const last = standbys.find((name) => name !== elected)
      await sight.until(
        'another new primary',
        ({ primacy }) => primacy?.phase === 'steady' && primacy.primary === last,
      )
      await writesGoOn(scene)
    },
  )

  story(
    'again and again: nobody reaches anybody, promotions are given up one after the other, each on a timeline of its own (I6)',
    async (scene) => {
      const { lab, sight, primary, standbys } = scene
      const begun = sight.now.primacy?.highestTimelineId ?? 0
      const everybody = [primary, ...standbys]
      const mend = await lab.part(cutBetween(everybody, everybody))
      const timelines = new Map<number, string>()
      await sight.until('three promotions', ({ primacy }) => {
        if (primacy?.phase !== 'promoting') return false
        const before = timelines.get(primacy.timelineId)
        expect(before ?? primacy.primary).toBe(primacy.primary)
        timelines.set(primacy.timelineId, primacy.primary)
        return primacy.highestTimelineId >= begun + 3
      })
      await mend()
      await newPrimary(scene)
      await writesGoOn(scene)
    },
  )

  story('by the old primary, which comes back while walreceivers die by themselves', async (scene) => {
    const { lab, sight, primary, standbys, epoch } = scene
    const walreceivers = standbys.flatMap((name) => lab.node(name).pidsOfBackends('walreceiver'))
    const back = sight.until('the election', ({ primacy }) => {
      if (!isLater(primacy, epoch)) return false
      lab.node(primary).thaw()
      for (const pid of walreceivers) signal(pid, 'SIGKILL')
      return true
    })
    lab.node(primary).freeze('node')
    await back
    await newPrimary(scene)
    await writesGoOn(scene)
  })

  story("by a false alarm and the death of a standby: the old primary votes, too (I3')", async (scene) => {
    const { lab, sight, primary, standbys, epoch } = scene
    const [lost = '', left = ''] = standbys
    const kill = lab.node(lost).aim('node')
    const killed = sight.until('the election', ({ primacy }) => {
      if (!isLater(primacy, epoch)) return null
      lab.node(primary).thaw()
      return { done: kill() }
    })
    lab.node(primary).freeze('node')
    await (await killed).done
    expect([primary, left]).toContain(await newPrimary(scene))
    await writesGoOn(scene)
  })

  story(
    'before it begins: the candidate of a switchover is frozen, and the old primary is restarted',
    async (scene) => {
      const { lab, sight, primary, standbys, epoch } = scene
      const [candidate = ''] = standbys
      const kill = lab.node(primary).aim('agent')
      const killed = sight.until('the election', ({ primacy }) => {
        if (!isLater(primacy, epoch)) return null
        lab.node(candidate).freeze('node')
        return { done: kill() }
      })
      // Refused as long as somebody still rejoins after the story before; and who answers is killed.
      await lab.waitFor('a switchover', async () => {
        await lab.switchover(candidate).catch(() => {})
        return isLater(sight.now.primacy, epoch)
      })
      await (await killed).done
      lab.node(primary).startAgent()
      expect(await newPrimary(scene)).not.toBe(candidate)
      await writesGoOn(scene)
      lab.node(candidate).thaw()
    },
  )

  story(
    'by a vote that is not known yet: a standby restarts with WAL that it has not replayed (I3)',
    async (scene) => {
      const { lab, primary } = scene
      const { ahead, mend } = await oneIsAhead(scene)
      const [killAhead, killPrimary] = [lab.node(ahead).aim('postgres'), lab.node(primary).aim('node')]
      await killAhead()
      await killPrimary()
      expect(await newPrimary(scene)).toBe(ahead)
      await mend()
      await writesGoOn(scene)
    },
  )

  story(
    'by a standby that replays nothing: it votes what it has flushed, and is elected for it (I3)',
    async (scene) => {
      const { lab, sight, primary, epoch } = scene
      const { ahead, startup, mend } = await oneIsAhead(scene)
      await lab.node(primary).kill('node')
      const elected = await sight.until(
        'an elected node',
        ({ primacy }) => isLater(primacy, epoch) && primacy.phase === 'promoting' && primacy.primary,
      )
      expect(elected).toBe(ahead)
      await mend()
      signal(startup, 'SIGCONT')
      await newPrimary(scene)
      await writesGoOn(scene)
    },
  )
})

interface Ahead {
  readonly ahead: string
  /** Of `ahead`; it hangs. */
  readonly startup: number
  /** Not before somebody is elected: the kernel still has what the dead primary had sent, and the one behind would get it. */
  mend(): Promise<void>
}

/** Acknowledged by one standby alone, which has it on its disk and has not replayed it. */
async function oneIsAhead(scene: Scene): Promise<Ahead> {
  const { lab, primary, standbys } = scene
  const [behind = '', ahead = ''] = standbys
  const mend = await lab.part(cutBoth(primary, behind))
  const [startup] = lab.node(ahead).pidsOfBackends('startup')
  if (startup === undefined) throw new Error(`${ahead} replays nothing`)
  signal(startup, 'SIGSTOP')
  await writesGoOn(scene, primary)
  await writesGoOn(scene, primary)
  return { ahead, startup, mend }
}
