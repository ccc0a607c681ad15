/** The history as a table, and one change of primary with everything that is known of it. Pure. */
import type { HistoryEntry } from '../api/contract.ts'
import { humanDuration } from './humanise.ts'
import type { Paint } from './paint.ts'
import { phaseLines } from './phase-lines.ts'
import { type Cell, type Column, renderTable } from './table.ts'
import { oneLine, padEnd, truncate, wrap } from './text.ts'

export interface HistoryScreen {
  readonly width: number
  readonly paint: Paint
}

const COLUMNS: readonly Column[] = [
  { title: 'EPOCH', align: 'right', dropOrder: 0 },
  { title: 'BEGAN', dropOrder: 2 },
  { title: 'KIND', dropOrder: 0 },
  { title: 'CHANGE', dropOrder: 0 },
  { title: 'NO WRITES', align: 'right', dropOrder: 1 },
  { title: 'REASON', dropOrder: 3 },
]

/** What the other columns take; the reason gets the rest, and all of it is in `history EPOCH`. */
const OTHER_COLUMNS = 96
const LEAST_REASON = 24

export function renderHistory(entries: readonly HistoryEntry[], { width, paint }: HistoryScreen): string[] {
  const room = Math.max(LEAST_REASON, width - OTHER_COLUMNS)
  const rows = entries.map((entry): Cell[] => [
    { text: String(entry.epoch) },
    { text: entry.beganAt ?? '-', style: 'dim' },
    kindCell(entry),
    { text: changeOf(entry) },
    entry.outageMs === null ? { text: '-', style: 'dim' } : { text: humanDuration(entry.outageMs) },
    { text: truncate(oneLine(entry.reason), room) },
  ])
  return renderTable(COLUMNS, rows, { width, paint, indent: '' })
}

function kindCell(entry: HistoryEntry): Cell {
  if (entry.accepted !== null) return { text: `${entry.kind}, loss accepted`, style: 'red' }
  return { text: entry.kind }
}

function changeOf({ from, to, phase }: HistoryEntry): string {
  const old = from ?? '?'
  if (to === null) return `${old} -> nobody`
  const unfinished = phase === 'steady' ? '' : ' (not finished)'
  return from === to ? `${to} again${unfinished}` : `${old} -> ${to}${unfinished}`
}

export function renderEntry(entry: HistoryEntry, { width, paint }: HistoryScreen): string[] {
  const row = (label: string, text: string | null): string[] =>
    text === null
      ? []
      : wrap(oneLine(text), Math.max(20, width - 16)).map(
          (line, index) => `  ${paint('dim', padEnd(index === 0 ? label : '', 12))}${line}`,
        )
  const { accepted, asked } = entry
  return [
    `${paint('bold', `epoch ${entry.epoch}`)}  ${entry.kind}, ${changeOf(entry)}`,
    ...row('Reason', entry.reason),
    ...row('Begun by', `${entry.startedBy || '?'}${entry.rule === null ? '' : ` (${entry.rule})`}`),
    ...row('Detected', entry.kind === 'failover' ? entry.detectedAt : null),
    ...row('Began', entry.beganAt),
    ...row('Asked by', asked === null ? null : askedWords(asked)),
    ...row('Wanted', entry.candidate),
    ...row('Timeline', entry.timelineId === null ? null : String(entry.timelineId)),
    ...row('No writes', entry.outageMs === null ? null : `for ${humanDuration(entry.outageMs)}`),
    ...row(
      'Accepted',
      accepted === null
        ? null
        : `by ${accepted.by}: the votes of ${accepted.missing.join(', ')} were missing`,
    ),
    ...(accepted?.losses ?? []).flatMap((loss) => row('', loss)),
    ...voteLines(entry, paint),
    ...phaseLines(entry.phases),
  ]
}

function askedWords({ by, at, reason }: NonNullable<HistoryEntry['asked']>): string {
  return `${by} at ${at}${reason === null ? '' : `: ${reason}`}`
}

function voteLines({ parts }: HistoryEntry, paint: Paint): string[] {
  const voters = Object.values(parts).filter(({ vote }) => vote !== null)
  return voters
    .sort((a, b) => (a.node < b.node ? -1 : 1))
    .map(({ node, vote }, index) => {
      const where = `${node}: ${vote?.lsn} on timeline ${vote?.timelineId}${vote?.gone ? ', gone' : ''}`
      return `  ${paint('dim', padEnd(index === 0 ? 'Votes' : '', 12))}${where}`
    })
}
