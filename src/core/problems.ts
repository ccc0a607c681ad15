/** What a person should know of, from one node's view: codes that stay, a sentence, what to do. Pure; `since` is added by the shell. */
import { ERRORS } from '../errors/codes.ts'
import type { ClusterView, Failure, TaskKind } from './cluster-view.ts'
import { member, otherMembers, slotName } from './cluster-view.ts'
import type { Memory } from './decision.ts'
import { diskHangs } from './disk.ts'
import type { ServerFacts, SlotFacts } from './facts.ts'
import { currentRule } from './primacy.ts'
import { replayBehindBytes, TOO_FAR_BYTES } from './switchover-checks.ts'
import { walsenderOf } from './track.ts'

export interface FoundProblem {
  readonly code: string
  readonly severity: 'warning' | 'error'
  /** null: it concerns the cluster. */
  readonly node: string | null
  readonly message: string
  readonly hint: string
}

export function findProblems(view: ClusterView, memory: Memory): readonly FoundProblem[] {
  return [
    ...ofStore(view),
    ...ofDirectory(view),
    ...ofDisk(view, memory),
    ...ofTasks(view),
    ...ofServer(view),
    ...ofPrimary(view),
    ...ofStandby(view),
  ]
}

function ofStore(view: ClusterView): FoundProblem[] {
  if (view.store.kind === 'unreachable') {
    return [
      own(
        view,
        'store-unreachable',
        `the store does not answer: ${view.store.reason}`,
        ERRORS['store-unreachable'].hint,
      ),
    ]
  }
  if (view.store.kind === 'stale')
    return [own(view, view.store.code, view.store.reason, hintOfStale(view.store.code))]
  const { primacy, identity } = view.store.facts
  const { directory, initialized } = view.local
  const found: FoundProblem[] = []
  if (directory.kind === 'cluster') {
    const systemIdentifier = directory.control.systemIdentifier
    if (primacy === null && initialized !== systemIdentifier) {
      found.push(
        own(
          view,
          'store-empty',
          'the store knows of no cluster, but this node holds data',
          ERRORS['store-empty'].hint,
        ),
      )
    }
    if (identity !== null && identity.systemIdentifier !== systemIdentifier) {
      found.push(
        own(
          view,
          'system-identifier',
          `the data here is of another cluster (system identifier ${systemIdentifier})`,
          ERRORS['system-identifier'].hint,
        ),
      )
    }
  }
  if (identity !== null && identity.major !== view.spec.major) {
    found.push(
      own(
        view,
        'wrong-major',
        `the cluster runs PostgreSQL ${identity.major}, the binaries here are of ${view.spec.major}`,
        ERRORS['wrong-major'].hint,
      ),
    )
  }
  return found
}

function hintOfStale(code: 'store-stale' | 'store-empty' | 'system-identifier'): string {
  if (code !== 'system-identifier') return ERRORS[code].hint
  return 'Is it the right store? Nothing here is touched. A node that shall join another cluster needs an empty directory, state included.'
}

function ofDirectory(view: ClusterView): FoundProblem[] {
  const { directory, postmaster } = view.local
  const found: FoundProblem[] = []
  if (directory.kind === 'unusable')
    found.push(own(view, directory.code, directory.reason, ERRORS[directory.code].hint))
  if (postmaster.kind === 'foreign') {
    found.push(own(view, 'foreign-postmaster', postmaster.reason, ERRORS['foreign-postmaster'].hint))
  }
  return found
}

function ofTasks(view: ClusterView): FoundProblem[] {
  return [...view.local.failures]
    .filter(([task]) => task !== 'prove')
    .map(([task, failure]) =>
      own(view, failure.code, `${verb(task)} failed: ${failure.reason}`, hintOf(failure)),
    )
}

function hintOf(failure: Failure): string {
  return failure.hint
}

function verb(task: TaskKind): string {
  return {
    initialize: 'making the first data directory',
    clone: 'cloning',
    rewind: 'rewinding',
    promote: 'promoting',
    settle: 'settling the settings',
    start: 'starting PostgreSQL',
    stop: 'stopping PostgreSQL',
    prove: 'proving the rule',
  }[task]
}

function ofDisk(view: ClusterView, memory: Memory): FoundProblem[] {
  if (!diskHangs(view, memory)) return []
  return [
    own(
      view,
      'disk-hangs',
      'the disk of the data takes no writes, and does not say so',
      ERRORS['disk-hangs'].hint,
    ),
  ]
}

/** Whatever its role. */
function ofServer(view: ClusterView): FoundProblem[] {
  const { server } = view.local
  if (server === null) return []
  const slots = server.slots.flatMap((slot) => ofSlot(view, slot))
  if (server.pendingRestart.length === 0) return slots
  const names = server.pendingRestart.join(', ')
  return [
    ...slots,
    own(
      view,
      'pending-restart',
      `${names} will be in effect only after a restart of PostgreSQL`,
      'A switchover restarts the old primary; any node takes it over when its PostgreSQL is started next.',
      'warning',
    ),
  ]
}

/** Our own slots are mended by themselves; somebody else's keep WAL, and with it the disk, until somebody looks. */
function ofSlot(view: ClusterView, { name, walStatus, active, holdsXmin }: SlotFacts): FoundProblem[] {
  const ours = otherMembers(view).some((each) => slotName(each.name) === name)
  if (walStatus === 'lost') {
    const hint = ours ? 'It is made anew by itself.' : `Drop it: SELECT pg_drop_replication_slot('${name}').`
    return [own(view, 'slot-lost', `WAL that the slot ${name} needs is gone`, hint, 'warning')]
  }
  if (active) return []
  const hint = ours
    ? 'Bring its node back, or drop the slot: it is made anew at once, and the node is cloned when it lacks WAL then.'
    : `Start its consumer, or drop it: SELECT pg_drop_replication_slot('${name}').`
  const found: FoundProblem[] = []
  if (walStatus === 'extended' || walStatus === 'unreserved')
    found.push(own(view, 'slot-keeps-wal', `the slot ${name} is not in use and keeps WAL`, hint, 'warning'))
  // With hot_standby_feedback a standby leaves its xmin in its slot when it goes.
  if (holdsXmin)
    found.push(
      own(
        view,
        'slot-holds-xmin',
        `the slot ${name} is not in use and keeps dead rows from being cleaned up`,
        hint,
        'warning',
      ),
    )
  return found
}

/** What only the primary sees: who does not stream, and whether commits wait for enough standbys. */
function ofPrimary(view: ClusterView): FoundProblem[] {
  const { server } = view.local
  const primacy = view.store.kind === 'read' ? view.store.facts.primacy?.value : undefined
  if (primacy === undefined || primacy.primary !== view.self || server === null || server.inRecovery)
    return []
  const rule = currentRule(primacy)
  const found: FoundProblem[] = view.spec.members
    .filter((each) => each.name !== view.self && walsenderOf(server, each.name)?.state !== 'streaming')
    .map((each) => ({
      code: 'not-streaming',
      severity: 'warning' as const,
      node: each.name,
      message: `${each.name} does not stream from the primary`,
      hint: `\`understudy why ${each.name}\` says what it waits for.`,
    }))
  found.push(...behind(view, server))
  const streaming = rule.standbys.filter((name) => walsenderOf(server, name)?.state === 'streaming').length
  if (streaming < rule.acks) {
    found.push({
      code: 'quorum-missing',
      severity: 'error',
      node: null,
      message: `commits wait: ${rule.acks} of ${rule.standbys.join(', ')} must acknowledge, ${streaming} stream`,
      hint: 'Bring the standbys back; what was acknowledged is safe, and writes go on by themselves then.',
    })
  }
  if (view.spec.durability === 'quorum' && rule.acks === 0) {
    const few = view.spec.members.length < 3
    found.push({
      code: 'no-quorum-yet',
      severity: 'warning',
      node: null,
      message: few
        ? 'a quorum needs two standbys: commits wait for nobody'
        : 'commits wait for nobody until two standbys stream',
      hint: few
        ? 'Add nodes: with three, the loss of any one loses nothing.'
        : 'It is set by itself as soon as two standbys stream.',
    })
  }
  return found
}

/** Readers see old data there, and as the next primary it would make clients wait. */
function behind(view: ClusterView, server: ServerFacts): FoundProblem[] {
  return otherMembers(view).flatMap(({ name }) => {
    const walsender = walsenderOf(server, name)
    const bytes = walsender === null ? null : replayBehindBytes(server, walsender.replayLsn)
    if (bytes === null || bytes <= TOO_FAR_BYTES) return []
    return [
      {
        code: 'lagging',
        severity: 'warning' as const,
        node: name,
        message: `${name} has ${bytes} bytes to replay`,
        hint: 'A long query there may hold replay up, or its disk is slow; no switchover goes to it meanwhile.',
      },
    ]
  })
}

function ofStandby(view: ClusterView): FoundProblem[] {
  const { server } = view.local
  if (server === null || !server.inRecovery || !server.replayPaused) return []
  const hint = 'SELECT pg_wal_replay_resume() when whoever paused it is done.'
  return [own(view, 'replay-paused', 'replay is paused here', hint, 'warning')]
}

function own(
  view: ClusterView,
  code: string,
  message: string,
  hint: string,
  severity: 'warning' | 'error' = 'error',
): FoundProblem {
  return { code, severity, node: member(view.spec, view.self)?.name ?? view.self, message, hint }
}
