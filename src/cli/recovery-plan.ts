/** What an operator is shown before a store is recovered: what it says, what each node knows, and what would be put back. Pure. */
import type { RecoverStoreAnswer, RecoveryNode } from '../api/contract.ts'
import type { Paint } from './paint.ts'
import { type Cell, type Column, renderTable } from './table.ts'
import { oneLine, wrap } from './text.ts'

const COLUMNS: readonly Column[] = [
  { title: 'NODE', dropOrder: 0 },
  { title: 'AGENT', dropOrder: 0 },
  { title: 'PROMISED', align: 'right', dropOrder: 0 },
  { title: 'KNOWS OF', dropOrder: 0 },
  { title: 'PRIMARY', dropOrder: 1 },
  { title: 'TIMELINE', align: 'right', dropOrder: 2 },
]

export function recoveryLines(
  plan: RecoverStoreAnswer,
  { width, paint }: { readonly width: number; readonly paint: Paint },
): string[] {
  const { store, epoch, source } = plan
  const says = store.epoch === null ? 'knows of no cluster' : `says epoch ${store.epoch}, ${store.phase}`
  const back =
    epoch === null ? [] : [`  ${source} knows most: it is put back as an election in epoch ${epoch}.`]
  return [
    paint('bold', `The store ${says}`),
    ...renderTable(COLUMNS, plan.nodes.map(cells), { width, paint, indent: '  ' }),
    ...back,
    ...plan.rules.map(({ primary, acks, standbys }) => {
      const waited = acks === 0 ? 'nobody' : `${acks} of ${standbys.join(', ')}`
      return `  Commits on ${primary} waited for ${waited}.`
    }),
    ...lossLines(plan.losses, width, paint),
  ]
}

function cells({ name, answers, promisedEpoch, known, timelineId }: RecoveryNode): Cell[] {
  const optional = (value: string | number | null): Cell =>
    value === null ? { text: '-', style: 'dim' } : { text: oneLine(String(value)) }
  return [
    { text: name },
    answers ? { text: 'answers', style: 'green' } : { text: 'silent', style: 'red' },
    optional(promisedEpoch),
    known === null
      ? { text: answers ? 'nothing' : '-', style: answers ? 'red' : 'dim' }
      : { text: `epoch ${known.epoch}, ${known.phase}` },
    optional(known?.primary ?? null),
    optional(timelineId),
  ]
}

function lossLines(losses: readonly string[], width: number, paint: Paint): string[] {
  if (losses.length === 0) return []
  const lines = losses.flatMap((loss) =>
    wrap(oneLine(loss), Math.max(20, width - 6)).map(
      (line, index) => `  ${index === 0 ? '- ' : '  '}${line}`,
    ),
  )
  return [paint('red', '  Acknowledged commits may be lost:'), ...lines]
}
