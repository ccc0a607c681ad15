/**
 * The live view of `understudy up`: running steps are redrawn in place at the bottom, finished ones scroll away above them.
 * One write per frame and at most ten frames a second, so nothing flickers, over a slow connection neither. Where the output
 * is not a terminal the same steps are plain lines, and a long one says how far it is every two seconds.
 */
import type { Writable } from 'node:stream'
import { hideCursor } from './cursor.ts'
import { humanDuration } from './humanise.ts'
import { paintFor, wantsColour, wantsUnicode } from './paint.ts'
import {
  addSample,
  type Ending,
  type Frame,
  progressWords,
  renderEnding,
  renderRunning,
  renderWarning,
  type StepState,
} from './step-lines.ts'
import { displayWidth } from './text.ts'

/** A terminal's stream has a size; a pipe or a test's stream may have none. */
export type ViewStream = Writable & {
  readonly isTTY?: boolean
  readonly columns?: number
  readonly rows?: number
}

export interface StepViewOptions {
  readonly stream: ViewStream
  /** true: plain lines even on a terminal. A stream that is no terminal gets plain lines anyway. */
  readonly plain?: boolean
  readonly colour?: boolean
  readonly unicode?: boolean
  /** Monotonic milliseconds. */
  readonly now?: () => number
}

export interface StepView {
  /** Begins a step, or gives a running one another label. */
  step(id: string, label: string): void
  progress(id: string, seen: ProgressSeen): void
  /** A word on what the step waits for. */
  detail(id: string, text: string): void
  done(id: string, label?: string, elapsedMs?: number): void
  fail(id: string, label?: string): void
  warn(text: string): void
  /** Ends the view; what still runs is marked as not finished. Can be called twice. */
  close(): void
}

export interface ProgressSeen {
  readonly label?: string
  readonly bytesDone: number
  readonly bytesTotal: number | null
}

const FRAME_MS = 100
const PLAIN_PROGRESS_MS = 2_000

export function createStepView(options: StepViewOptions): StepView {
  const terminal = options.stream.isTTY === true && options.plain !== true && process.env['TERM'] !== 'dumb'
  const settings = {
    stream: options.stream,
    now: options.now ?? (() => performance.now()),
    paint: paintFor(options.colour ?? wantsColour({ isTerminal: terminal, env: process.env })),
    unicode: options.unicode ?? (terminal && wantsUnicode(process.env)),
  }
  return new View(terminal ? new TerminalCanvas(settings) : new PlainCanvas(settings), settings)
}

interface Settings extends Pick<Frame, 'paint' | 'unicode'> {
  readonly stream: ViewStream
  readonly now: () => number
}

/** Where steps are shown: both kinds are told the same, and each shows what suits it. */
interface Canvas {
  begun(step: StepState): void
  changed(step: StepState): void
  ended(ending: Ending, step: StepState, elapsedMs: number | null): void
  warned(text: string): void
  show(steps: ReadonlyMap<string, StepState>): void
  close(): void
}

class View implements StepView {
  readonly #canvas: Canvas
  readonly #now: () => number
  readonly #steps = new Map<string, StepState>()
  #closed = false

  constructor(canvas: Canvas, settings: Settings) {
    this.#canvas = canvas
    this.#now = settings.now
    canvas.show(this.#steps)
  }

  step(id: string, label: string): void {
    const known = this.#steps.get(id)
    if (known !== undefined && known.label === label) return
    const step: StepState = known
      ? { ...known, label }
      : { id, label, startedAtMs: this.#now(), detail: null, progress: null }
    this.#set(step)
    if (!this.#closed && known === undefined) this.#canvas.begun(step)
  }

  progress(id: string, seen: ProgressSeen): void {
    const known = this.#running(id)
    const progress = addSample(known.progress, {
      bytesDone: seen.bytesDone,
      bytesTotal: seen.bytesTotal,
      atMs: this.#now(),
    })
    this.#set({ ...known, label: seen.label ?? known.label, progress })
  }

  detail(id: string, text: string): void {
    this.#set({ ...this.#running(id), detail: text })
  }

  done(id: string, label?: string, elapsedMs?: number): void {
    this.#end('done', id, label, elapsedMs)
  }

  fail(id: string, label?: string): void {
    this.#end('failed', id, label)
  }

  warn(text: string): void {
    if (!this.#closed) this.#canvas.warned(text)
  }

  close(): void {
    if (this.#closed) return
    for (const step of this.#steps.values()) this.#canvas.ended('interrupted', step, null)
    this.#closed = true
    this.#steps.clear()
    this.#canvas.close()
  }

  #running(id: string): StepState {
    return this.#steps.get(id) ?? { id, label: id, startedAtMs: this.#now(), detail: null, progress: null }
  }

  #set(step: StepState): void {
    if (this.#closed) return
    this.#steps.set(step.id, step)
    this.#canvas.changed(step)
  }

  #end(ending: Ending, id: string, label?: string, elapsedMs?: number): void {
    if (this.#closed) return
    const step = this.#running(id)
    this.#steps.delete(id)
    const took = elapsedMs ?? this.#now() - step.startedAtMs
    this.#canvas.ended(ending, { ...step, label: label ?? step.label }, took)
  }
}

class TerminalCanvas implements Canvas {
  readonly #settings: Settings
  /** Lines for the history above the running steps, written with the next frame. */
  #above: string[] = []
  #drawn: readonly string[] = []
  #steps: ReadonlyMap<string, StepState> = new Map()
  #timer: NodeJS.Timeout | null = null
  #showCursor: (() => void) | null = null

  constructor(settings: Settings) {
    this.#settings = settings
  }

  show(steps: ReadonlyMap<string, StepState>): void {
    this.#steps = steps
    // The view must not keep a process alive whose work is over.
    this.#timer = setInterval(() => this.#draw(), FRAME_MS).unref()
  }

  begun(): void {}

  changed(): void {}

  ended(ending: Ending, step: StepState, elapsedMs: number | null): void {
    this.#above.push(renderEnding(ending, step.label, elapsedMs, this.#settings))
  }

  warned(text: string): void {
    this.#above.push(renderWarning(text, this.#settings))
  }

  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#steps = new Map()
    this.#draw(true)
    this.#showCursor?.()
  }

  #draw(last = false): void {
    const { stream, now, paint, unicode } = this.#settings
    // A terminal that cannot keep up gets fewer frames, not a queue of them.
    if (stream.writableNeedDrain && !last) return
    const width = stream.columns || 80
    const running = [...this.#steps.values()]
    const lines =
      running.length === 0
        ? []
        : renderRunning(running, { width, height: stream.rows || 24, nowMs: now(), paint, unicode })
    if (this.#above.length === 0 && lines.join('\n') === this.#drawn.join('\n')) return
    if (lines.length > 0) this.#showCursor ??= hideCursor(stream)
    stream.write(frameText({ before: this.#drawn, above: this.#above, lines, width }))
    this.#above = []
    this.#drawn = lines
  }
}

/**
 * The bytes that turn the lines drawn `before` into `above` (history) and `lines` (redrawn next time). After the window became
 * narrower, the old lines take more rows than they are lines: they are counted at the new width.
 */
export function frameText(frame: {
  readonly before: readonly string[]
  readonly above: readonly string[]
  readonly lines: readonly string[]
  readonly width: number
}): string {
  const rows = frame.before.reduce(
    (sum, line) => sum + Math.max(1, Math.ceil(displayWidth(stripEscapes(line)) / frame.width)),
    0,
  )
  const up = rows === 0 ? '\r' : `\u001b[${rows}A\r`
  const text = [...frame.above, ...frame.lines].map((line) => `${line}\u001b[K\n`).join('')
  return `${up}${text}\u001b[J`
}

export function stripEscapes(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences begin with one
  return text.replace(/\u001b\[[0-9;?]*[A-Za-z]/g, '')
}

class PlainCanvas implements Canvas {
  readonly #settings: Settings
  readonly #saidAtMs = new Map<string, number>()

  constructor(settings: Settings) {
    this.#settings = settings
  }

  show(): void {}

  begun(step: StepState): void {
    this.#saidAtMs.set(step.id, this.#settings.now())
    this.#line(`... ${step.label}`)
  }

  changed(step: StepState): void {
    const nowMs = this.#settings.now()
    if (step.progress === null && step.detail === null) return
    if (nowMs - (this.#saidAtMs.get(step.id) ?? step.startedAtMs) < PLAIN_PROGRESS_MS) return
    this.#saidAtMs.set(step.id, nowMs)
    const words = step.progress === null ? [step.detail ?? ''] : progressWords(step.progress, nowMs)
    this.#line(`... ${step.label}: ${words.join(', ')}`)
  }

  ended(ending: Ending, step: StepState, elapsedMs: number | null): void {
    const took = elapsedMs === null ? '' : ` (${humanDuration(elapsedMs)})`
    const word = { done: 'ok ', failed: 'FAILED', interrupted: 'not finished:' }[ending]
    this.#line(`${word} ${step.label}${ending === 'interrupted' ? '' : took}`)
    this.#saidAtMs.delete(step.id)
  }

  warned(text: string): void {
    this.#line(`warning: ${text}`)
  }

  close(): void {}

  #line(text: string): void {
    this.#settings.stream.write(`${text}\n`)
  }
}
