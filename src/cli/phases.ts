/** How long each phase of a change of primary took, from the nodes' events of its epoch. */
import type { ClusterEvent } from '../api/contract.ts'
import { type AgentAddress, askEvents } from './api-client.ts'

export interface Phase {
  readonly name: 'voted' | 'elected' | 'promoted' | 'firstQuorumWrite' | 'steady'
  /** Since the election of the epoch began. */
  readonly ms: number
}

export async function phasesOf(agents: readonly AgentAddress[], epoch: number): Promise<readonly Phase[]> {
  const answers = await Promise.all(agents.map((agent) => askEvents(agent)))
  return phasesFrom(
    answers.flatMap((answer) => (answer.kind === 'ok' ? answer.value : [])),
    epoch,
  )
}

/** Pure. Wall clocks of one machine; between machines they are as good as those are set. */
export function phasesFrom(events: readonly ClusterEvent[], epoch: number): readonly Phase[] {
  const ofEpoch = [...events].sort((a, b) => (a.at < b.at ? -1 : 1))
  const began = ofEpoch.find((event) => event.epoch === epoch && event.details?.['phase'] === 'electing')
  if (began === undefined) return []
  const later = ofEpoch.filter((event) => event.at >= began.at)
  const at = (found: ClusterEvent | undefined): number | null =>
    found === undefined ? null : Date.parse(found.at) - Date.parse(began.at)
  const marks: readonly (readonly [Phase['name'], number | null])[] = [
    ['voted', at(later.filter((event) => event.kind === 'vote' && event.epoch === epoch).at(-1))],
    ['elected', at(later.find((event) => event.epoch === epoch && event.details?.['phase'] === 'promoting'))],
    ['promoted', at(later.find((event) => event.kind === 'promote-done'))],
    ['firstQuorumWrite', at(later.find((event) => event.kind === 'rule-proven'))],
    ['steady', at(later.find((event) => event.epoch === epoch && event.details?.['phase'] === 'steady'))],
  ]
  return marks.flatMap(([name, ms]) => (ms === null ? [] : [{ name, ms }]))
}
