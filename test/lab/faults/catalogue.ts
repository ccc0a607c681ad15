/** Every kind of fault that a lab can have. */
import type { Lab } from '../lab.ts'
import type { FaultKind, Surroundings } from './fault.ts'
import { operatorFaults } from './operators.ts'
import { partitionFaults } from './partitions.ts'
import { processFaults } from './processes.ts'
import { surroundingFaults } from './surroundings.ts'

export const FAULTS: readonly FaultKind[] = [
  ...processFaults,
  ...partitionFaults,
  ...surroundingFaults,
  ...operatorFaults,
]

export function surroundingsOf(lab: Lab): Surroundings {
  return {
    nodes: lab.nodes.length,
    rtoMs: lab.rtoMs,
    storeMembers: lab.store.members.length,
    canFill: lab.nodes.every((node) => node.canFill),
    canFreezeDisk: lab.options.canFreezeDisk === true,
    canStepClock: lab.nodes.every((node) => node.canStepClock),
    canDelay: lab.network.canDelay,
  }
}

/** Throws for a name that there is not. */
export function faultOf(name: string): FaultKind {
  const found = FAULTS.find((each) => each.name === name)
  if (found === undefined)
    throw new Error(`there is no fault ${name}: ${FAULTS.map((each) => each.name).join(', ')}`)
  return found
}
