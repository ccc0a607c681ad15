/** The preflight of `reinit`: a standby may be cloned anew when commits go on without it and there is somebody to clone from. Pure. */
import { type Check, failed, passed } from './check.ts'
import type { ClusterView } from './cluster-view.ts'
import { currentRule, type Primacy } from './primacy.ts'

export function reinitChecks(view: ClusterView): readonly Check[] {
  const primacy = view.store.kind === 'read' ? view.store.facts.primacy?.value : undefined
  if (view.store.kind === 'stale') return [failed('store', view.store.code, view.store.reason)]
  if (view.store.kind !== 'read' || primacy === undefined)
    return [failed('store', 'store-unreachable', 'the store does not answer, or knows of no cluster')]
  const role = roleCheck(view, primacy)
  if (role.result === 'failed') return [role]
  return [role, sourceCheck(view, primacy), idleCheck(view), quorumCheck(view, primacy)]
}

function roleCheck(view: ClusterView, primacy: Primacy): Check {
  const check = 'standby'
  const { self } = view
  if (primacy.primary === self || view.local.server?.inRecovery === false)
    return failed(check, 'already-primary', `${self} is the primary: only a standby can be made anew`)
  return passed(check, `${self} is a standby`)
}

function sourceCheck(view: ClusterView, primacy: Primacy): Check {
  const check = 'source'
  const report = view.store.kind === 'read' ? view.store.facts.nodes.get(primacy.primary) : undefined
  if (primacy.phase !== 'steady')
    return failed(check, 'election-running', `an election is running (epoch ${primacy.epoch})`)
  if (report?.role === 'primary' && report.state === 'running')
    return passed(check, `${primacy.primary} runs: it is cloned from there`)
  return failed(check, 'no-primary', `the primary ${primacy.primary} does not run: there is nothing to clone`)
}

function idleCheck(view: ClusterView): Check {
  const check = 'idle'
  const { tasks } = view.local
  if (tasks.has('clone') || tasks.has('rewind'))
    return failed(check, 'request-running', `${view.self} is being made anew already`)
  return passed(check, 'it is not being made anew yet')
}

/** The last one that acknowledges must not go: commits would wait until its clone is done. */
function quorumCheck(view: ClusterView, primacy: Primacy): Check {
  const check = 'quorum'
  const reports = view.store.kind === 'read' ? view.store.facts.nodes : new Map<string, never>()
  const { acks, standbys } = currentRule(primacy)
  const streams = (name: string): boolean => reports.get(name)?.state === 'streaming'
  const others = standbys.filter((name) => name !== view.self && streams(name)).length
  if (acks === 0) return passed(check, 'commits wait for nobody')
  if (others >= acks) return passed(check, `${others} other standbys can acknowledge commits, ${acks} must`)
  if (!standbys.includes(view.self) || view.local.server?.walreceiver?.status !== 'streaming')
    return { check, result: 'warning', message: `commits wait already, and ${view.self} does not stream` }
  return failed(
    check,
    'last-standby',
    `commits wait for ${acks} of ${standbys.join(', ')}, and only ${others} others stream: without ${view.self} writes would stop`,
  )
}
