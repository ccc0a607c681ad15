/** What can be seen of the nodes when a primary is lost, and in words what that may cost. Pure. */
import type { FailoverNode, NodeDetail, NodePosition, Sighting } from '../../api/contract.ts'
import type { ClusterView, StoreFacts } from '../../core/cluster-view.ts'
import { lagBytes, parseLsn } from '../../core/lsn.ts'
import type { FailoverOutlook } from '../../core/manual-failover.ts'
import { currentRule, type Primacy, type Rule } from '../../core/primacy.ts'

/** null: that agent did not answer. */
export type Details = ReadonlyMap<string, NodeDetail | null>

export interface Sight {
  readonly nodes: readonly FailoverNode[]
  /** Names of those that report and may be elected. */
  readonly electable: readonly string[]
  /** Where each node was last seen, by anybody. */
  readonly sightings: ReadonlyMap<string, Sighting>
  /** Somebody else who may be elected has more. */
  behind(name: string): boolean
}

export function seeNodes(view: ClusterView, facts: StoreFacts, details: Details): Sight {
  const electable = [...facts.nodes.values()]
    .filter((each) => each.vote === 'whole' && each.priority > 0)
    .map(({ name }) => name)
  const seen = view.spec.members.map(({ name }) => seeNode(name, facts, details))
  const best = furthest(seen.filter(({ name }) => facts.nodes.has(name)))
  const bestElectable = furthest(seen.filter(({ name }) => electable.includes(name)))
  return {
    nodes: seen.map((node) => ({ ...node, behindBytes: behindBytes(node.position, best?.position ?? null) })),
    electable,
    sightings: newest(details),
    behind: (name) => {
      const own = seen.find((each) => each.name === name)?.position ?? null
      return compare(bestElectable?.position ?? null, own) > 0
    },
  }
}

function seeNode(name: string, facts: StoreFacts, details: Details): FailoverNode {
  const detail = details.get(name) ?? null
  const report = facts.nodes.get(name)
  return {
    name,
    answers: detail !== null,
    vote: report?.vote ?? detail?.vote ?? null,
    position: detail?.position ?? reported(report),
    behindBytes: null,
    lastCommitAt: detail?.lastCommitAt ?? null,
    streamEndedAt: detail?.streamEndedAt ?? null,
  }
}

function reported(
  report: { readonly timelineId: number | null; readonly flushLsn: string | null } | undefined,
): NodePosition | null {
  if (report === undefined || report.timelineId === null || report.flushLsn === null) return null
  return { timelineId: report.timelineId, lsn: report.flushLsn }
}

/** Who would be elected: the most advanced of those that may be, not the old primary among equals; null when there is nobody. */
export function candidateOf({ nodes, electable }: Sight, primary: string): FailoverNode | null {
  const able = nodes.filter(({ name }) => electable.includes(name))
  return furthest([
    ...able.filter(({ name }) => name !== primary),
    ...able.filter(({ name }) => name === primary),
  ])
}

function furthest(nodes: readonly FailoverNode[]): FailoverNode | null {
  return nodes.reduce<FailoverNode | null>(
    (best, each) => (best === null || compare(each.position, best.position) > 0 ? each : best),
    null,
  )
}

function compare(a: NodePosition | null, b: NodePosition | null): number {
  if (a === null || b === null) return (a === null ? 0 : 1) - (b === null ? 0 : 1)
  if (a.timelineId !== b.timelineId) return a.timelineId - b.timelineId
  const [left = 0n, right = 0n] = [parseLsn(a.lsn) ?? 0n, parseLsn(b.lsn) ?? 0n]
  return left === right ? 0 : left > right ? 1 : -1
}

function behindBytes(position: NodePosition | null, best: NodePosition | null): number | null {
  if (position === null || best === null || position.timelineId !== best.timelineId) return null
  const [own, most] = [parseLsn(position.lsn), parseLsn(best.lsn)]
  return own === null || most === null ? null : lagBytes(own, most)
}

function newest(details: Details): ReadonlyMap<string, Sighting> {
  const all = [...details.values()].flatMap((detail) => detail?.sightings ?? [])
  const found = new Map<string, Sighting>()
  for (const each of all) if (compare(each, found.get(each.node) ?? null) > 0) found.set(each.node, each)
  return found
}

/** One sentence each, for a person who must decide. */
export function lossesOf(primacy: Primacy, outlook: FailoverOutlook, sight: Sight): readonly string[] {
  const best = candidateOf(sight, primacy.primary)
  const rules = outlook.rules.filter(({ satisfied, rule }) => !satisfied || rule.acks === 0)
  return [
    ...rules.flatMap(({ rule }) => lossUnder(rule, outlook)),
    ...(best === null ? [] : [...distance(primacy, best, sight), ...moments(primacy, best)]),
    ...warning(outlook.missing),
  ]
}

function lossUnder(rule: Rule, { voters, missing }: FailoverOutlook): readonly string[] {
  const { primary, acks, standbys } = rule
  if (acks === 0)
    return voters.includes(primary)
      ? []
      : [`Commits on ${primary} waited for nobody: the newest of them may be on ${primary} alone.`]
  const lost = standbys.filter((name) => missing.includes(name))
  return [
    `A commit was acknowledged when ${primary} and ${acks} of ${standbys.join(', ')} had it: the newest may be on ${[primary, ...lost].join(', ')} alone.`,
  ]
}

function distance(primacy: Primacy, best: FailoverNode, { sightings }: Sight): readonly string[] {
  const last = sightings.get(primacy.primary)
  if (last === undefined || best.position === null)
    return [`How far ${primacy.primary} had come is not known.`]
  const bytes = behindBytes(best.position, last)
  const where = `${primacy.primary} was last seen at ${last.lsn} (timeline ${last.timelineId}, ${last.at})`
  const than =
    bytes === null || bytes === 0 ? `${best.name} has that` : `${best.name} is ${bytes} bytes behind that`
  return [`${where}; ${than}; what came afterwards is not known.`]
}

function moments(primacy: Primacy, best: FailoverNode): readonly string[] {
  const ended =
    best.streamEndedAt === null
      ? []
      : [`The stream of ${best.name} from ${currentRule(primacy).primary} ended at ${best.streamEndedAt}.`]
  const commit =
    best.lastCommitAt === null ? [] : [`The last commit that ${best.name} has is of ${best.lastCommitAt}.`]
  return [...ended, ...commit]
}

function warning(missing: readonly string[]): readonly string[] {
  if (missing.length === 0) return []
  return [
    `If ${missing.join(' or ')} still runs somewhere that cannot be seen from here, whatever it acknowledges from now on is lost as well: make sure that it is down.`,
  ]
}
