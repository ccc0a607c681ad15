/** Progress: once faults have stopped, the cluster comes to rest by itself, and then everybody has the same. */
import { comparePositions } from '../src/core/ballot.ts'
import { overlaps, rulesToSatisfy } from '../src/core/election.ts'
import { lsnOf, ZERO_LSN } from '../src/core/lsn.ts'
import { currentRule } from '../src/core/primacy.ts'
import type { TimelinePosition } from '../src/core/timeline.ts'
import type { SimNode } from './node.ts'
import { endOf } from './wal.ts'
import type { World } from './world.ts'

/** null when everything is well; otherwise what is not. `dead`: a node that does not come back, and is done without. */
export function unwell(world: World, dead: SimNode | null): string | null {
  const { store, nodes, durability } = world
  const primacy = store.primacy?.value
  if (store.forgot !== null) return 'the store has forgotten what the nodes know'
  if (primacy === undefined) return 'there is no cluster'
  if (primacy.phase !== 'steady') return `epoch ${primacy.epoch} is ${primacy.phase}`
  if (primacy.nextRule !== null) return 'the rule is being changed'
  const primary = world.node(primacy.primary)
  if (primary.run === null || primary.run.inRecovery) return `${primary.name} is not writable`
  for (const node of nodes) {
    if (node === primary || node === dead) continue
    if (node.run?.walreceiver?.connection?.from !== primary)
      return `${node.name} does not stream, ${why(node)}`
  }
  const { standbys } = currentRule(primacy)
  const missing = nodes.find((each) => each !== primary && each !== dead && !standbys.includes(each.name))
  if (durability === 'quorum' && missing !== undefined)
    return `the rule names ${standbys}, not ${missing.name}`
  return null
}

function why({ run, agent }: SimNode): string {
  const { lastRule, lastReason } = agent.knows
  const receiver = run?.walreceiver
  const stream =
    receiver === null || receiver === undefined
      ? 'without walreceiver'
      : `walreceiver of ${receiver.upstream} epoch ${receiver.epoch} ${receiver.connection === null ? 'connecting' : 'connected'}`
  return `${run === null ? 'stopped' : run.status} ${stream} (${lastRule}: ${lastReason})`
}

/**
 * Whether the rest needs an operator: what is left on the disks does not tell that nothing more was acknowledged (I2), or the most that
 * can be voted was opened up and is not whole (I4). By what is so, not by what the agents make of it. null: the cluster can go on.
 */
export function hopeless(world: World): string | null {
  const primacy = world.store.primacy?.value
  if (primacy === undefined || primacy.phase !== 'electing') return null
  const living = world.nodes.filter((node) => node !== world.dead)
  const whole = living.filter(({ disk, state }) => disk.present && state.sentinel === null)
  const opened = living.flatMap(({ name, state }) => {
    const position = state.sentinel?.position ?? null
    return position === null ? [] : [{ name, position }]
  })
  const voters = new Set([...whole, ...opened].map((each) => each.name))
  const stopped = new Set(world.nodes.map((each) => each.name))
  if (!overlaps(rulesToSatisfy(primacy), voters, stopped)) return 'the disks that are left are not enough'
  const best = (positions: readonly Place[]): Place =>
    positions.reduce((a, b) => (comparePositions(a, b) >= 0 ? a : b), NOTHING)
  const ahead = best(opened.map((each) => each.position))
  const most = best(
    whole.map(({ disk }) => ({ timelineId: disk.timelineId(), lsn: lsnOf(BigInt(endOf(disk.wal))) })),
  )
  return comparePositions(ahead, most) > 0 ? 'the most that is left was opened up' : null
}

type Place = Pick<TimelinePosition, 'timelineId' | 'lsn'>

const NOTHING: Place = { timelineId: 0, lsn: ZERO_LSN }
