/**
 * The first line of the board: the answer to what a person opens it for. Is it well, what can be lost right now, and if it is
 * not well, what is missing. Pure.
 */
import type { ClusterStatus, NodeStatus } from '../api/contract.ts'
import { enumerate, humanBytes, plural } from './humanise.ts'

export interface Verdict {
  readonly mood: 'good' | 'attention' | 'bad'
  readonly sentence: string
}

export function verdict(status: ClusterStatus): Verdict {
  const primary = status.nodes.find((node) => node.name === status.primary)
  const silent = status.nodes.filter((node) => node.state === 'unreachable')
  if (silent.length === status.nodes.length)
    return { mood: 'bad', sentence: 'Nothing answers: no agent of this cluster can be reached.' }
  if (primary === undefined || primary.state !== 'running') return withoutPrimary(status, primary)
  if (status.healthy && status.paused !== null)
    return {
      mood: 'attention',
      sentence: `Failover is PAUSED: nobody takes over by itself. ${lossSentence(status)}`,
    }
  if (status.healthy) return { mood: 'good', sentence: `Healthy. ${lossSentence(status)}` }
  return { mood: 'attention', sentence: `Not healthy: ${complaint(status)}. ${lossSentence(status)}` }
}

function withoutPrimary(status: ClusterStatus, primary: NodeStatus | undefined): Verdict {
  if (status.phase === 'electing' || status.phase === 'promoting')
    return { mood: 'bad', sentence: 'Writes wait: a new primary is being made right now.' }
  if (primary === undefined) return { mood: 'bad', sentence: 'Writes wait: there is no primary yet.' }
  return {
    mood: 'bad',
    sentence: `Writes wait: the primary ${primary.name} is ${stateWords(primary.state)}.`,
  }
}

/** What the loss of a node would cost at this moment (promise P1). */
export function lossSentence(status: ClusterStatus): string {
  const { quorum } = status
  if (quorum !== null && quorum.acks > 0)
    return `Any ${quorum.acks === 1 ? 'one node' : `${quorum.acks} nodes`} may be lost without losing an acknowledged commit.`
  const standbys = status.nodes.filter((node) => node.role === 'standby' && node.state === 'streaming')
  if (standbys.length === 0) return 'No standby streams: the data exists once.'
  const lags = standbys.flatMap((node) => (node.replayLagBytes === null ? [] : [node.replayLagBytes]))
  const behind = lags.length === 0 ? '' : ` (${humanBytes(Math.min(...lags))} right now)`
  return `Commits do not wait for a standby: losing the primary may lose the newest ones${behind}.`
}

/** "each commit waits for 1 of bravo, charlie". */
export function quorumSentence(status: ClusterStatus): string {
  const { quorum, durability } = status
  if (quorum !== null && quorum.acks > 0)
    return `each commit waits for ${quorum.acks} of ${quorum.standbys.join(', ')}`
  if (status.epoch === null) return `${durability} is asked for; what is in force is not known`
  if (durability === 'async') return 'async: commits do not wait for a standby'
  return 'quorum is asked for, but right now commits wait for no standby'
}

function complaint(status: ClusterStatus): string {
  const parts: string[] = []
  const others = status.nodes.filter((node) => !WELL.has(node.state))
  for (const state of new Set(others.map((node) => node.state))) {
    const names = others.filter((node) => node.state === state).map((node) => node.name)
    parts.push(`${enumerate(names)} ${names.length === 1 ? 'is' : 'are'} ${stateWords(state)}`)
  }
  if (parts.length > 0) return parts.join('; ')
  const count = status.problems.length
  return count === 0 ? 'the cluster has not settled yet' : `${plural(count, 'problem')} below`
}

const WELL: ReadonlySet<NodeStatus['state']> = new Set(['running', 'streaming'])

export function stateWords(state: NodeStatus['state']): string {
  return state === 'catchingUp' ? 'catching up' : state
}
