/**
 * The lines of the live view as a pure function of its steps, the width and the time. What does not fit is left out from the
 * least useful part on: a line must never wrap, or redrawing it in place would leave rubbish behind.
 */
import { humanBytes, humanDuration, humanRate, humanTimeLeft } from './humanise.ts'
import type { Paint } from './paint.ts'
import { displayWidth, padEnd, padStart, renderSpans, type Span, spansWidth, truncate } from './text.ts'

export interface Sample {
  readonly atMs: number
  readonly bytes: number
}

export interface StepProgress {
  readonly bytesDone: number
  /** null: not known yet, so there is neither a bar nor a time left. */
  readonly bytesTotal: number | null
  /** Of the last seconds, oldest first. */
  readonly samples: readonly Sample[]
}

export interface StepState {
  readonly id: string
  readonly label: string
  readonly startedAtMs: number
  readonly detail: string | null
  readonly progress: StepProgress | null
}

export interface Frame {
  readonly width: number
  readonly height: number
  readonly nowMs: number
  readonly paint: Paint
  readonly unicode: boolean
}

/** Long enough to smooth what the disk does in bursts, short enough to show a stall. */
const RATE_WINDOW_MS = 5_000
/** Samples come many times a second; so many of them are enough for a mean. */
const SAMPLE_SPACING_MS = 200
const BAR_WIDTHS = [20, 12] as const
const LEAST_BAR_WIDTH = 8
const SPINNER = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'] as const
const ASCII_SPINNER = ['|', '/', '-', '\\'] as const

export function addSample(
  previous: StepProgress | null,
  seen: { readonly bytesDone: number; readonly bytesTotal: number | null; readonly atMs: number },
): StepProgress {
  const restarted = previous !== null && seen.bytesDone < previous.bytesDone
  // A clone that begins anew counts from zero again: its old samples would give a negative rate.
  const kept = restarted ? [] : (previous?.samples ?? [])
  const recent = kept.filter((sample) => seen.atMs - sample.atMs <= RATE_WINDOW_MS)
  const window = recent.length === 0 ? kept.slice(-1) : recent
  const tooSoon = seen.atMs - (window.at(-1)?.atMs ?? Number.NEGATIVE_INFINITY) < SAMPLE_SPACING_MS
  const samples = tooSoon ? window : [...window, { atMs: seen.atMs, bytes: seen.bytesDone }]
  return { bytesDone: seen.bytesDone, bytesTotal: seen.bytesTotal, samples }
}

/** Bytes per second over the window that ends now, so that a stalled transfer's rate falls; null while it is too early. */
export function smoothedRate(progress: StepProgress, nowMs: number): number | null {
  const first = progress.samples[0]
  if (first === undefined || nowMs - first.atMs < 500) return null
  return Math.max(0, ((progress.bytesDone - first.bytes) * 1000) / (nowMs - first.atMs))
}

export function timeLeftMs(progress: StepProgress, nowMs: number): number | null {
  const rate = smoothedRate(progress, nowMs)
  if (rate === null || rate <= 0 || progress.bytesTotal === null) return null
  return (Math.max(0, progress.bytesTotal - progress.bytesDone) / rate) * 1000
}

/** null without a total. A total from the server is an estimate: more than all of it is still 100 %. */
export function fraction(progress: StepProgress): number | null {
  if (progress.bytesTotal === null || progress.bytesTotal <= 0) return null
  return Math.min(1, Math.max(0, progress.bytesDone / progress.bytesTotal))
}

export function bar(share: number, width: number, unicode: boolean): string {
  const full = Math.min(width, Math.max(0, Math.floor(share * width)))
  return unicode ? '━'.repeat(full) + '─'.repeat(width - full) : '#'.repeat(full) + '.'.repeat(width - full)
}

/** "45 %", "1.2 GB of 2.6 GB", "120 MB/s", "12 s left": the most useful first. */
export function progressWords(progress: StepProgress, nowMs: number): string[] {
  const share = fraction(progress)
  const rate = smoothedRate(progress, nowMs)
  const left = timeLeftMs(progress, nowMs)
  const total = progress.bytesTotal
  const words = share === null ? [] : [`${Math.floor(share * 100)} %`]
  words.push(
    total === null
      ? humanBytes(progress.bytesDone)
      : `${humanBytes(progress.bytesDone)} of ${humanBytes(total)}`,
  )
  if (rate !== null) words.push(humanRate(rate))
  if (left !== null) words.push(`${humanTimeLeft(left)} left`)
  return words
}

/** The lines of all running steps; at most height - 1, because the cursor rests on a line of its own below them. */
export function renderRunning(steps: readonly StepState[], frame: Frame): string[] {
  const room = Math.max(1, frame.height - 1)
  const shown = steps.length > room ? steps.slice(0, room - 1) : steps
  const labelWidth = Math.max(
    0,
    ...shown.filter((step) => step.progress !== null).map((step) => displayWidth(step.label)),
  )
  const lines = shown.map((step) => renderStep(step, labelWidth, frame))
  if (shown.length < steps.length)
    lines.push(frame.paint('dim', truncate(`  … and ${steps.length - shown.length} more`, frame.width - 1)))
  return lines
}

function renderStep(step: StepState, labelWidth: number, frame: Frame): string {
  const spinner = frame.unicode ? SPINNER : ASCII_SPINNER
  const icon = spinner[Math.floor(frame.nowMs / 100) % spinner.length] ?? '-'
  const head: Span[] = [{ text: icon, style: 'cyan' }, { text: ' ' }]
  const spans =
    step.progress === null
      ? [...head, ...waitingSpans(step, frame.nowMs)]
      : [...head, ...progressSpans(step, step.progress, labelWidth, frame)]
  // The last column stays empty: writing into it makes some terminals wrap at once.
  return renderSpans(spans, frame.width - 1, frame.paint)
}

function waitingSpans(step: StepState, nowMs: number): Span[] {
  const elapsedMs = nowMs - step.startedAtMs
  const spans: Span[] = [{ text: step.label }]
  if (step.detail !== null) spans.push({ text: `  ${step.detail}`, style: 'dim' })
  if (elapsedMs >= 1_000) spans.push({ text: `  ${humanDuration(elapsedMs)}`, style: 'dim' })
  return spans
}

/** The words at their longest: the bar is as wide as they leave room for, and does not jump when one of them appears. */
const WORDS_WIDTH = 58

function progressSpans(step: StepState, progress: StepProgress, labelWidth: number, frame: Frame): Span[] {
  const share = fraction(progress)
  const words = progressWords(progress, frame.nowMs)
  const label: Span = { text: padEnd(step.label, Math.min(labelWidth, Math.floor(frame.width / 2))) }
  const room = frame.width - 3
  const left = room - spansWidth([label]) - WORDS_WIDTH
  const width = BAR_WIDTHS.find((each) => each <= left) ?? LEAST_BAR_WIDTH
  const drawn: Span[] =
    share === null ? [] : [{ text: `  ${bar(share, width, frame.unicode)}`, style: 'cyan' }]
  if (share !== null) words[0] = padStart(words[0] ?? '', '100 %'.length)
  for (let count = words.length; count > 0; count--) {
    const tail: Span = { text: `  ${words.slice(0, count).join('  ')}`, style: 'dim' }
    if (spansWidth([label, ...drawn, tail]) <= room) return [label, ...drawn, tail]
  }
  const least = (words[0] ?? '').trim()
  return [
    { text: truncate(step.label, Math.max(1, room - displayWidth(least) - 1)) },
    { text: ` ${least}`, style: 'dim' },
  ]
}

export type Ending = 'done' | 'failed' | 'interrupted'

/** A finished step scrolls away with the history, so it may wrap: nothing of it is cut. */
export function renderEnding(
  ending: Ending,
  label: string,
  elapsedMs: number | null,
  { paint, unicode }: Pick<Frame, 'paint' | 'unicode'>,
): string {
  const took = elapsedMs === null ? '' : paint('dim', `  ${humanDuration(elapsedMs)}`)
  if (ending === 'done') return `${paint('green', unicode ? '✓' : '+')} ${label}${took}`
  if (ending === 'failed') return `${paint('red', unicode ? '✗' : 'x')} ${label}${took}`
  return `${paint('dim', '-')} ${paint('dim', `${label} (not finished)`)}`
}

export function renderWarning(text: string, { paint }: Pick<Frame, 'paint'>): string {
  return `${paint('yellow', '!')} ${text}`
}
