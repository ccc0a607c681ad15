/**
 * Text in terminal columns. A line that is one column too wide wraps, and then every redraw in place leaves rubbish behind, so
 * widths are counted as a terminal counts them: combining marks take no column, East Asian wide characters and emoji take two.
 * Pure.
 */
import type { Paint, Style } from './paint.ts'

/** A piece of a line: fitted to the width first and coloured afterwards, so that no escape sequence is ever cut in two. */
export interface Span {
  readonly text: string
  readonly style?: Style
}

const ZERO_WIDTH = /^[\p{Mn}\p{Me}\p{Cf}]$/u

/** First and last code points that take two columns (Unicode's EastAsianWidth W and F, and what terminals show as emoji). */
const WIDE: readonly (readonly [number, number])[] = [
  [0x1100, 0x115f],
  [0x231a, 0x231b],
  [0x2e80, 0x303e],
  [0x3041, 0xa4cf],
  [0xac00, 0xd7a3],
  [0xf900, 0xfaff],
  [0xfe30, 0xfe6f],
  [0xff00, 0xff60],
  [0xffe0, 0xffe6],
  [0x1f300, 0x1f64f],
  [0x1f680, 0x1f6ff],
  [0x1f900, 0x1f9ff],
  [0x1fa70, 0x1faff],
  [0x20000, 0x3fffd],
]

export function displayWidth(text: string): number {
  let width = 0
  for (const character of text) width += characterWidth(character)
  return width
}

function characterWidth(character: string): number {
  const point = character.codePointAt(0) ?? 0
  if (point < 0x20 || (point >= 0x7f && point < 0xa0)) return 0
  if (point < 0x300) return 1
  if (ZERO_WIDTH.test(character)) return 0
  return WIDE.some(([first, last]) => point >= first && point <= last) ? 2 : 1
}

/** Cuts to at most `width` columns; what was cut shows as an ellipsis. */
export function truncate(text: string, width: number): string {
  if (displayWidth(text) <= width) return text
  if (width <= 0) return ''
  let kept = ''
  let columns = 0
  for (const character of text) {
    const next = characterWidth(character)
    if (columns + next > width - 1) break
    kept += character
    columns += next
  }
  return `${kept}…`
}

export function padEnd(text: string, width: number): string {
  return text + ' '.repeat(Math.max(0, width - displayWidth(text)))
}

export function padStart(text: string, width: number): string {
  return ' '.repeat(Math.max(0, width - displayWidth(text))) + text
}

/** Text from elsewhere (agents, files) on one line: a control character in it could move the cursor or recolour the screen. */
export function oneLine(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what this is about
  return text.replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ').trim()
}

/** Breaks at spaces; a word longer than the width stays whole (a path or a command must remain copyable). */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(/\s+/)) {
    if (word === '') continue
    if (line !== '' && displayWidth(line) + 1 + displayWidth(word) > width) {
      lines.push(line)
      line = word
    } else {
      line = line === '' ? word : `${line} ${word}`
    }
  }
  if (line !== '' || lines.length === 0) lines.push(line)
  return lines
}

export function spansWidth(spans: readonly Span[]): number {
  return spans.reduce((sum, span) => sum + displayWidth(span.text), 0)
}

/** Fits the spans into `width` columns, then paints them. */
export function renderSpans(spans: readonly Span[], width: number, paint: Paint): string {
  let left = width
  let line = ''
  for (const span of spans) {
    if (left <= 0) break
    const text = truncate(span.text, left)
    left -= displayWidth(text)
    line += span.style === undefined ? text : paint(span.style, text)
    if (text !== span.text) break
  }
  return line
}
