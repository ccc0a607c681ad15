/** I7, at the two moments when an agent makes its PostgreSQL writable: who is primary was read in this very cycle. */
import type { ClusterView } from '../src/core/cluster-view.ts'
import type { Primacy } from '../src/core/primacy.ts'
import type { SimNode } from './node.ts'
import type { World } from './world.ts'

/** With the files as they are; as a standby PostgreSQL may be started at any time. */
export function checkStart(world: World, node: SimNode, view: ClusterView): void {
  if (!node.disk.standbySignal && !isNamed(node, view, ['steady', 'promoting']))
    world.checks.fail(
      'I7',
      `${node.name} starts PostgreSQL writable without having read that it is the primary`,
    )
}

export function checkPromotion(world: World, node: SimNode, view: ClusterView): void {
  if (!isNamed(node, view, ['promoting']))
    world.checks.fail('I7', `${node.name} promotes PostgreSQL without having read that it is elected`)
}

function isNamed(node: SimNode, { store }: ClusterView, phases: readonly Primacy['phase'][]): boolean {
  const primacy = store.kind === 'read' ? store.facts.primacy?.value : undefined
  return primacy?.primary === node.name && phases.includes(primacy.phase)
}
