/** A station of the tour as lines: before it is visited, and what was seen there. Pure. */
import type { Paint } from '../paint.ts'
import { displayWidth, oneLine, padEnd, wrap } from '../text.ts'
import type { Row, Seen, Told, Typed } from './station.ts'

export interface TourScreen {
  readonly width: number
  readonly paint: Paint
}

const INDENT = '  '
const PROSE_WIDTH = 100

export interface Heading {
  readonly number: number
  readonly of: number
  readonly title: string
}

/** What a person reads before anything is looked at or done. */
export function toldLines({ number, of, title }: Heading, told: Told, screen: TourScreen): string[] {
  const { paint } = screen
  const look =
    told.look.length === 0
      ? []
      : [
          '',
          `${INDENT}${paint('cyan', 'Look at')}`,
          ...told.look.flatMap((text) => prose(text, screen, '    ')),
        ]
  return [
    '',
    paint('bold', `${number} of ${of}  ${title}`),
    ...told.why.flatMap((text) => ['', ...prose(text, screen, INDENT)]),
    ...told.typed.flatMap((typed, index) => typedLines(typed, told.typed[index - 1], screen)),
    ...look,
  ]
}

function placeOf({ kind, on, path }: Typed): string {
  const where = on === null ? 'anywhere' : `on ${on}`
  return { sql: `${where}, in psql`, command: where, file: `${where}, in ${path ?? 'a file'}` }[kind]
}

/** The place is said once for what is typed there one after the other. */
function typedLines(typed: Typed, before: Typed | undefined, { paint }: TourScreen): string[] {
  const place = placeOf(typed)
  const heading =
    before !== undefined && placeOf(before) === place ? [] : ['', `${INDENT}${paint('cyan', place)}`]
  // Not wrapped: what is to be typed must remain as it is to be typed.
  return [
    ...heading,
    ...typed.text
      .trimEnd()
      .split('\n')
      .map((line) => `${INDENT}${INDENT}${/^(#|--)/.test(line) ? paint('dim', line) : line}`),
  ]
}

/** What the cluster has said. */
export function seenLines(seen: readonly Seen[], screen: TourScreen): string[] {
  return seen.flatMap((each) => ['', ...oneSeen(each, screen)])
}

function oneSeen({ on, asked, rows, lines }: Seen, screen: TourScreen): string[] {
  const { paint } = screen
  const isQuery = /^(SELECT|SHOW)\b/.test(asked)
  const who = on ?? 'The cluster'
  const heading = isQuery
    ? [`${INDENT}${paint('green', `${who} says, to`)}`]
    : [`${INDENT}${paint('green', `${who}, ${asked}`)}`]
  const query = isQuery ? asked.split('\n').map((line) => `${INDENT}${INDENT}${paint('dim', line)}`) : []
  const table = isQuery ? tableLines(rows, screen.width - 4).map((line) => `${INDENT}${INDENT}${line}`) : []
  return [...heading, ...query, ...table, ...lines.map((line) => `${INDENT}${INDENT}${oneLine(line)}`)]
}

/** As psql prints it: one line per row, or, when that is too wide, one line per column (\x). */
export function tableLines(rows: readonly Row[], width: number): string[] {
  const [first] = rows
  if (first === undefined) return ['(no row)']
  const columns = Object.keys(first)
  const textOf = (row: Row, column: string): string => oneLine(row[column] ?? 'NULL')
  const widths = columns.map((column) =>
    Math.max(displayWidth(column), ...rows.map((row) => displayWidth(textOf(row, column)))),
  )
  const whole = widths.reduce((sum, each) => sum + each, 3 * (columns.length - 1))
  if (whole > width) return expandedLines(rows, columns, textOf, width)
  const lineOf = (cells: readonly string[]): string =>
    cells
      .map((cell, index) => padEnd(cell, widths[index] ?? 0))
      .join(' | ')
      .trimEnd()
  return [
    lineOf(columns),
    widths.map((each) => '-'.repeat(each)).join('-+-'),
    ...rows.map((row) => lineOf(columns.map((column) => textOf(row, column)))),
  ]
}

function expandedLines(
  rows: readonly Row[],
  columns: readonly string[],
  textOf: (row: Row, column: string) => string,
  width: number,
): string[] {
  const label = Math.max(...columns.map(displayWidth))
  return rows.flatMap((row, index) => [
    ...(index === 0 ? [] : ['']),
    ...columns.flatMap((column) => {
      const room = Math.max(20, width - label - 3)
      // A connection string is longer than any screen: it goes on below, word by word.
      return wrap(textOf(row, column), room).map(
        (part, line) => `${padEnd(line === 0 ? column : '', label)} | ${part}`,
      )
    }),
  ])
}

/** A sentence of our own; the indentation is repeated. */
export function prose(text: string, { width }: TourScreen, indent: string): string[] {
  const room = Math.max(20, Math.min(PROSE_WIDTH, width) - indent.length)
  return wrap(text, room).map((line) => `${indent}${line}`)
}
