/**
 * A node's name when it leaves the cluster, and when it comes back. The configuration says who is a member; a node that was removed may
 * still have an old one, and may have been off when it was removed. So its name is taken in the store for good: whoever starts under it
 * stops its PostgreSQL and ends.
 */
import type { MemberAnswer } from '../../api/contract.ts'
import { rulesToSatisfy } from '../../core/election.ts'
import type { Outcome } from '../../ports/postgres.ts'
import { afterStore, type ControlContext, SOMEBODY } from './context.ts'

/** Refused while a commit may still count on it (I2), and while this agent's own configuration has it. */
export async function retireMember(
  context: ControlContext,
  node: string,
  by: string = SOMEBODY,
): Promise<Outcome<MemberAnswer>> {
  const fresh = await context.fresh()
  if (fresh.kind !== 'ok') return fresh
  const { spec, store } = fresh.value
  const primacy = store.kind === 'read' ? store.facts.primacy?.value : undefined
  if (primacy === undefined) return { kind: 'failed', code: 'refused', reason: 'there is no cluster yet' }
  if (primacy.phase !== 'steady')
    return { kind: 'failed', code: 'election-running', reason: 'the primary is being replaced' }
  const counted = rulesToSatisfy(primacy).flatMap((rule) => [rule.primary, ...rule.standbys])
  if (counted.includes(node))
    return {
      kind: 'failed',
      code: 'refused',
      reason: `commits still count on ${node}`,
      hint: 'The primary takes it out of the rule when its configuration does not have it any more: look again in a moment.',
    }
  if (spec.members.some(({ name }) => name === node))
    return { kind: 'failed', code: 'refused', reason: `${node} is a node of this agent’s configuration` }
  const read = await context.store.readNameClaim(node)
  if (read.kind !== 'ok') return afterStore(read)
  if (read.value?.value.removed !== undefined) return { kind: 'ok', value: { node, changed: false } }
  const removed = { by, at: context.clock.timestamp() }
  const written = await context.store.retireName(node, removed, read.value?.revision ?? null)
  if (written.kind !== 'ok' || !written.value) return afterStore(written)
  context.events.add({ kind: 'node-removed', message: `${by} removed ${node} from the cluster` })
  return { kind: 'ok', value: { node, changed: true } }
}

/** Of a name that was retired; any other stays as it is. */
export async function admitMember(
  context: ControlContext,
  node: string,
  by: string = SOMEBODY,
): Promise<Outcome<MemberAnswer>> {
  const read = await context.store.readNameClaim(node)
  if (read.kind !== 'ok') return afterStore(read)
  if (read.value?.value.removed === undefined) return { kind: 'ok', value: { node, changed: false } }
  const written = await context.store.freeName(node, read.value.revision)
  if (written.kind !== 'ok' || !written.value) return afterStore(written)
  context.events.add({
    kind: 'node-admitted',
    message: `${by} lets a node live under the name ${node} again`,
  })
  return { kind: 'ok', value: { node, changed: true } }
}
