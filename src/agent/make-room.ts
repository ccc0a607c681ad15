/** What a clone replaces: moved aside when the copy is whole, and removed when later clones have replaced it again (I11). */
import type { ClusterView } from '../core/cluster-view.ts'
import { holdsWhatIsLost } from '../core/rules/ladder.ts'
import { type Outcome, type Postgres, REPLACED } from '../ports/postgres.ts'
import type { AgentDependencies } from './dependencies.ts'
import type { EventLog } from './events.ts'

/** Nothing may run in it any more, and it may not be what an election counts on: then the clone waits for the next attempt. */
export async function makeRoom(
  postgres: Postgres,
  view: ClusterView,
  moveAside: (reason: string) => Promise<Outcome>,
): Promise<Outcome> {
  const directory = await postgres.inspectDirectory()
  if (directory.kind === 'absent') return { kind: 'ok', value: null }
  // What an operator once did without may be in it and nowhere else: it is kept until a person removes it.
  const primacy = view.store.kind === 'read' ? view.store.facts.primacy?.value : undefined
  const irreplaceable = primacy !== undefined && holdsWhatIsLost(view, primacy)
  return moveAside(irreplaceable ? 'written-off' : REPLACED)
}

/** A clone does not fail because of what it could have left lying. */
export async function removeReplaced(
  { postgres, log }: Pick<AgentDependencies, 'postgres' | 'log'>,
  events: EventLog,
): Promise<void> {
  const removed = await postgres.removeReplaced()
  if (removed.kind !== 'ok') log.warn('old directories stay', { reason: removed.reason })
  else if (removed.value.length > 0)
    events.add({
      kind: 'removed-aside',
      message: `removed what earlier clones have replaced: ${removed.value.join(', ')}`,
    })
}
