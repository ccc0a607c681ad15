/** A preflight as lines: what was looked at, each with its result. Pure. */
import type { Check } from '../core/check.ts'
import type { Paint, Style } from './paint.ts'
import { oneLine, padEnd } from './text.ts'

const MARKS: Readonly<Record<Check['result'], { readonly word: string; readonly style: Style }>> = {
  ok: { word: 'ok', style: 'green' },
  waits: { word: 'waits', style: 'yellow' },
  warning: { word: 'warning', style: 'yellow' },
  failed: { word: 'FAILED', style: 'red' },
}

export function checkLines(checks: readonly Check[], paint: Paint): string[] {
  const width = Math.max(0, ...checks.map(({ result }) => MARKS[result].word.length))
  return checks.map(({ result, message }) => {
    const { word, style } = MARKS[result]
    return `  ${paint(style, padEnd(word, width))}  ${oneLine(message)}`
  })
}
