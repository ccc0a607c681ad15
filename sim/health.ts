/** Progress: once faults have stopped, the cluster comes to rest by itself, and then everybody has the same. */
import { currentRule } from '../src/core/primacy.ts'
import type { SimNode } from './node.ts'
import type { World } from './world.ts'

/** null when everything is well; otherwise what is not. `dead`: a node that does not come back, and is done without. */
export function unwell(world: World, dead: SimNode | null): string | null {
  const { store, nodes, durability } = world
  const primacy = store.primacy?.value
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
