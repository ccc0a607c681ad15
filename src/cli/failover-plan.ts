/** What an operator is shown before a failover: where each node is, which rules are not satisfied, and what may be lost. Pure. */
import type { FailoverAnswer, FailoverNode } from '../api/contract.ts'
import { enumerate, humanBytes } from './humanise.ts'
import type { Paint } from './paint.ts'
import { type Cell, type Column, renderTable } from './table.ts'
import { oneLine, wrap } from './text.ts'

const COLUMNS: readonly Column[] = [
  { title: 'NODE', dropOrder: 0 },
  { title: 'VOTE', dropOrder: 0 },
  { title: 'AGENT', dropOrder: 4 },
  { title: 'TIMELINE', align: 'right', dropOrder: 3 },
  { title: 'POSITION', dropOrder: 0 },
  { title: 'BEHIND', align: 'right', dropOrder: 1 },
  { title: 'LAST COMMIT', dropOrder: 2 },
]

export function planLines(
  plan: FailoverAnswer,
  { width, paint }: { readonly width: number; readonly paint: Paint },
): string[] {
  const head = `${plan.from ?? 'nobody'} -> ${plan.to ?? 'nobody'}  epoch ${plan.epoch ?? '?'}, ${plan.phase ?? '?'}`
  const rows = plan.nodes.map((node) => nodeCells(node, plan))
  return [
    paint('bold', head),
    ...renderTable(COLUMNS, rows, { width, paint, indent: '  ' }),
    ...plan.rules.map((rule) => ruleLine(rule, paint)),
    ...lossLines(plan, width, paint),
  ]
}

function nodeCells(node: FailoverNode, plan: FailoverAnswer): Cell[] {
  const optional = (text: string | null): Cell =>
    text === null ? { text: '-', style: 'dim' } : { text: oneLine(text) }
  return [
    { text: node.name },
    voteCell(node, plan),
    node.answers ? { text: 'answers', style: 'green' } : { text: 'silent', style: 'red' },
    optional(node.position === null ? null : String(node.position.timelineId)),
    optional(node.position?.lsn ?? null),
    optional(node.behindBytes === null ? null : humanBytes(node.behindBytes)),
    optional(node.lastCommitAt),
  ]
}

function voteCell(node: FailoverNode, plan: FailoverAnswer): Cell {
  if (plan.missing.includes(node.name)) return { text: 'MISSING', style: 'red' }
  if (!plan.voters.includes(node.name)) return { text: 'none', style: 'yellow' }
  return node.vote === 'gone' ? { text: 'gone', style: 'yellow' } : { text: 'votes', style: 'green' }
}

function ruleLine(rule: FailoverAnswer['rules'][number], paint: Paint): string {
  const { primary, acks, standbys, satisfied } = rule
  const waited = acks === 0 ? 'nobody' : `${acks} of ${standbys.join(', ')}`
  const verdict = satisfied ? paint('green', 'satisfied') : paint('red', 'NOT satisfied')
  return `  Commits on ${primary} waited for ${waited}: ${verdict} by the votes that can be had.`
}

function lossLines(plan: FailoverAnswer, width: number, paint: Paint): string[] {
  const { losses, mayLoseData, voters, nodes } = plan
  if (!mayLoseData) {
    const silent = nodes
      .filter(({ name, answers }) => voters.includes(name) && !answers)
      .map(({ name }) => name)
    const provided =
      silent.length === 0
        ? ''
        : `, provided that ${enumerate(silent)} still ${silent.length === 1 ? 'votes' : 'vote'}`
    return [`  No acknowledged commit is lost${provided}.`]
  }
  const lines = losses.flatMap((loss) =>
    wrap(oneLine(loss), Math.max(20, width - 6)).map(
      (line, index) => `  ${index === 0 ? '- ' : '  '}${line}`,
    ),
  )
  return [paint('red', '  Acknowledged commits may be lost:'), ...lines]
}
