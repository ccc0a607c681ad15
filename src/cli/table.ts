/** A table that gives up its least needed columns before it would wrap. Pure. */
import type { Paint, Style } from './paint.ts'
import { displayWidth, padEnd, padStart, renderSpans, type Span } from './text.ts'

export interface Column {
  readonly title: string
  readonly align?: 'left' | 'right'
  /** 0 stays always; among the others the highest goes first. */
  readonly dropOrder: number
}

export interface Cell {
  readonly text: string
  readonly style?: Style
}

export interface TableOptions {
  readonly width: number
  readonly paint: Paint
  readonly indent?: string
}

const GAP = '  '

export function renderTable(
  columns: readonly Column[],
  rows: readonly (readonly Cell[])[],
  { width, paint, indent = '' }: TableOptions,
): string[] {
  const widths = columns.map((column, index) =>
    Math.max(displayWidth(column.title), ...rows.map((row) => displayWidth(row[index]?.text ?? ''))),
  )
  const kept = keptColumns(columns, widths, width - indent.length)
  const line = (cells: readonly Cell[]): string => {
    const spans: Span[] = [{ text: indent }]
    kept.forEach((index, position) => {
      const { text = '', style } = cells[index] ?? {}
      const pad = columns[index]?.align === 'right' ? padStart : padEnd
      const last = position === kept.length - 1
      const padded = last && pad === padEnd ? text : pad(text, widths[index] ?? 0)
      spans.push(style === undefined ? { text: padded } : { text: padded, style })
      if (!last) spans.push({ text: GAP })
    })
    return renderSpans(spans, width, paint).trimEnd()
  }
  return [line(columns.map((column) => ({ text: column.title, style: 'dim' }))), ...rows.map(line)]
}

function keptColumns(columns: readonly Column[], widths: readonly number[], width: number): number[] {
  const kept = columns.map((_, index) => index)
  const needed = (): number =>
    kept.reduce((sum, index) => sum + (widths[index] ?? 0), 0) + GAP.length * (kept.length - 1)
  const order = (index: number): number => columns[index]?.dropOrder ?? 0
  while (needed() > width) {
    const next = kept.reduce((worst, index) => (order(index) > order(worst) ? index : worst), kept[0] ?? 0)
    if (order(next) === 0) break
    kept.splice(kept.indexOf(next), 1)
  }
  return kept
}
