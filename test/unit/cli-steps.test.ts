/** The live view: what a line shows at each width, that it never wraps, and what a log gets instead of redrawn lines. */
import { Writable } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { plainPaint } from '../../src/cli/paint.ts'
import {
  addSample,
  bar,
  type Frame,
  progressWords,
  renderRunning,
  type StepProgress,
  type StepState,
  smoothedRate,
  timeLeftMs,
} from '../../src/cli/step-lines.ts'
import { createStepView, frameText, stripEscapes, type ViewStream } from '../../src/cli/steps.ts'
import { displayWidth } from '../../src/cli/text.ts'

const MB = 1024 * 1024
const frame = (over: Partial<Frame> = {}): Frame => ({
  width: 100,
  height: 24,
  nowMs: 2_000,
  paint: plainPaint,
  unicode: true,
  ...over,
})

/** 10 MB/s since time 0, as far as it is at `nowMs`. */
function steadyClone(nowMs: number, totalBytes: number | null): StepProgress {
  let progress: StepProgress | null = null
  for (let atMs = 0; atMs <= nowMs; atMs += 250)
    progress = addSample(progress, { bytesDone: (atMs / 1000) * 10 * MB, bytesTotal: totalBytes, atMs })
  if (progress === null) throw new Error('no sample')
  return progress
}

function step(over: Partial<StepState> = {}): StepState {
  return { id: 'x', label: 'bravo: copying', startedAtMs: 0, detail: null, progress: null, ...over }
}

describe('progress of a clone', () => {
  it('shows share, bytes, rate and time left', () => {
    expect(progressWords(steadyClone(4_000, 100 * MB), 4_000)).toEqual([
      '40 %',
      '40.0 MB of 100 MB',
      '10.0 MB/s',
      '6 s left',
    ])
  })

  it('knows neither share nor time left without a total', () => {
    expect(progressWords(steadyClone(4_000, null), 4_000)).toEqual(['40.0 MB', '10.0 MB/s'])
  })

  it('lets the rate of a stalled transfer fall', () => {
    const progress = steadyClone(4_000, 100 * MB)
    const before = smoothedRate(progress, 4_000) ?? 0
    const after = smoothedRate(progress, 9_000) ?? 0
    expect(before).toBeCloseTo(10 * MB, -4)
    expect(after).toBeLessThan(before / 2)
  })

  it('forgets the rate of an attempt that began anew', () => {
    const again = addSample(steadyClone(4_000, 100 * MB), { bytesDone: 0, bytesTotal: 100 * MB, atMs: 4_250 })
    expect(smoothedRate(again, 5_000)).toBe(0)
    expect(timeLeftMs(again, 5_000)).toBeNull()
  })

  it('keeps few samples however often it is told', () => {
    let progress: StepProgress | null = null
    for (let atMs = 0; atMs < 60_000; atMs += 5)
      progress = addSample(progress, { bytesDone: atMs, bytesTotal: null, atMs })
    expect(progress?.samples.length).toBeLessThanOrEqual(27)
  })

  it('is never fuller than full', () => {
    const over = { bytesDone: 300, bytesTotal: 200, samples: [] }
    expect(progressWords(over, 0)[0]).toBe('100 %')
    expect(bar(1, 8, true)).toBe('━━━━━━━━')
    expect(bar(0.5, 8, false)).toBe('####....')
    expect(bar(7, 8, false)).toBe('########')
  })
})

describe('a frame of running steps', () => {
  const two = [
    step({ id: 'b', progress: steadyClone(2_000, 100 * MB) }),
    step({ id: 'c', label: 'charlie: copying', progress: steadyClone(2_000, 50 * MB) }),
  ]

  it('shows two clones at once, their bars below each other', () => {
    expect(renderRunning(two, frame())).toEqual([
      '⠋ bravo: copying    ━━━━────────────────   20 %  20.0 MB of 100 MB  10.0 MB/s  8 s left',
      '⠋ charlie: copying  ━━━━━━━━────────────   40 %  20.0 MB of 50.0 MB  10.0 MB/s  3 s left',
    ])
  })

  it('keeps the bar where it is when the rate and the time left appear', () => {
    const early = step({ progress: addSample(null, { bytesDone: MB, bytesTotal: 100 * MB, atMs: 0 }) })
    const late = step({ progress: steadyClone(9_000, 100 * MB) })
    const barOf = (each: StepState, nowMs: number): string | undefined =>
      /^\S+ \S+ \S+ +[━─]+ +\d+ %/.exec(renderRunning([each], frame({ nowMs, width: 90 }))[0] ?? '')?.[0]
    expect(barOf(early, 0)?.length).toBe(barOf(late, 9_000)?.length)
    expect(barOf(late, 9_000)).toContain('90 %')
  })

  it('leaves out what does not fit, the time left first and the share last', () => {
    const at = (width: number): string => renderRunning([two[0] as StepState], frame({ width }))[0] ?? ''
    expect(at(60)).not.toContain('left')
    expect(at(60)).toContain('of 100 MB')
    expect(at(36)).toContain('20 %')
    expect(at(12)).toContain('20 %')
  })

  it.each([5, 10, 20, 33, 40, 60, 79, 80, 120, 300])('fits into %i columns', (width) => {
    const wide = step({ label: '複製 🚀 é von alpha nach bravo', progress: steadyClone(2_000, 100 * MB) })
    const waiting = step({ label: '待つ'.repeat(40), detail: 'x'.repeat(200) })
    for (const line of renderRunning([wide, waiting, ...two], frame({ width })))
      expect(displayWidth(line)).toBeLessThan(width)
  })

  it('fits into the height, however many steps run', () => {
    const many = Array.from({ length: 30 }, (_, i) => step({ id: String(i), label: `step ${i}` }))
    const lines = renderRunning(many, frame({ height: 6 }))
    expect(lines).toHaveLength(5)
    expect(lines.at(-1)).toBe('  … and 26 more')
  })

  it('says how long a step without progress takes already, and what it waits for', () => {
    const waiting = step({ label: 'charlie joins', detail: 'waiting for bravo' })
    expect(renderRunning([waiting], frame({ nowMs: 500 }))).toEqual(['⠴ charlie joins  waiting for bravo'])
    expect(renderRunning([waiting], frame({ nowMs: 3_200 }))[0]).toContain('3.2 s')
  })
})

describe('redrawing', () => {
  it('goes up as many rows as the old lines take at the new width', () => {
    const text = frameText({ before: ['x'.repeat(30), 'short'], above: [], lines: ['a'], width: 20 })
    expect(text).toBe('\u001b[3A\ra\u001b[K\n\u001b[J')
  })

  it('does not go up when nothing was drawn', () => {
    expect(frameText({ before: [], above: ['done'], lines: [], width: 20 })).toBe('\rdone\u001b[K\n\u001b[J')
  })
})

class Screen extends Writable {
  readonly isTTY: boolean
  readonly columns = 100
  readonly rows = 24
  readonly writes: string[] = []

  constructor(isTTY: boolean) {
    super({ decodeStrings: false })
    this.isTTY = isTTY
  }

  override _write(chunk: string, _encoding: string, done: () => void): void {
    this.writes.push(String(chunk))
    done()
  }

  get text(): string {
    return this.writes.join('')
  }
}

function plainView(): { screen: Screen; at: (ms: number) => void; view: ReturnType<typeof createStepView> } {
  const screen = new Screen(false)
  let nowMs = 0
  const view = createStepView({ stream: screen as ViewStream, now: () => nowMs, colour: false })
  return {
    screen,
    view,
    at: (ms) => {
      nowMs = ms
    },
  }
}

describe('where the output is not a terminal', () => {
  it('prints beginning, end and a progress line every two seconds', () => {
    const { screen, view, at } = plainView()
    view.step('b', 'bravo: copying')
    for (let ms = 0; ms <= 5_000; ms += 100) {
      at(ms)
      view.progress('b', { bytesDone: ms * 1000, bytesTotal: 10_000_000 })
    }
    view.done('b', 'bravo streams')
    view.close()
    expect(screen.text.split('\n')).toEqual([
      '... bravo: copying',
      '... bravo: copying: 20 %, 1.9 MB of 9.5 MB, 977 kB/s, 8 s left',
      '... bravo: copying: 40 %, 3.8 MB of 9.5 MB, 977 kB/s, 6 s left',
      'ok  bravo streams (5.0 s)',
      '',
    ])
  })

  it('does not print a step again when only its label changes', () => {
    const { screen, view } = plainView()
    view.step('a', 'alpha')
    view.step('a', 'alpha: starting')
    view.done('a')
    expect(screen.text).toBe('... alpha\nok  alpha: starting (0 ms)\n')
  })

  it('names what failed, what was warned of and what was not finished, without escapes', () => {
    const { screen, view } = plainView()
    view.step('a', 'alpha starts')
    view.step('b', 'bravo starts')
    view.warn('little space left')
    view.fail('a', 'alpha did not start')
    view.close()
    view.close()
    view.step('c', 'after the end')
    expect(screen.text).toBe(
      '... alpha starts\n... bravo starts\nwarning: little space left\n' +
        'FAILED alpha did not start (0 ms)\nnot finished: bravo starts\n',
    )
  })
})

describe('on a terminal', () => {
  it('writes each frame at once, ends with the finished steps and a visible cursor', async () => {
    const screen = new Screen(true)
    const listeners = process.listenerCount('SIGTERM')
    const view = createStepView({ stream: screen as ViewStream, colour: false, unicode: true })
    view.step('a', 'alpha starts')
    view.step('b', 'bravo starts')
    await until(() => screen.text.includes('alpha starts'))
    const drawn = screen.writes.length
    view.done('a', 'alpha runs', 1_200)
    view.close()
    view.close()
    expect(screen.writes[0]).toBe('\u001b[?25l')
    expect(screen.writes.at(-1)).toBe('\u001b[?25h')
    // One frame for the end, one write for the cursor.
    expect(screen.writes.length - drawn).toBe(2)
    expect(stripEscapes(screen.writes.at(-2) ?? '').trim()).toBe(
      '✓ alpha runs  1.2 s\n- bravo starts (not finished)',
    )
    expect(process.listenerCount('SIGTERM')).toBe(listeners)
  })
})

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5))
}
