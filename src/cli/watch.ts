/**
 * `status --watch`: the board redrawn in place each second until q or Ctrl-C. It lives on the terminal's second screen, so that
 * resizing cannot smear it and the first screen is found again as it was. Without a terminal each change prints a new board.
 */
import type { ClusterStatus } from '../api/contract.ts'
import type { SeenStatus } from './cluster-status.ts'
import { hideCursor } from './cursor.ts'
import { colourFor, EXIT, print, readerGone, widthOf } from './output.ts'

export interface WatchOptions {
  readonly read: (signal: AbortSignal) => Promise<SeenStatus>
  readonly render: (
    seen: SeenStatus,
    screen: { readonly width: number; readonly colour: boolean },
  ) => readonly string[]
}

const INTERVAL_MS = 1_000
const SECOND_SCREEN = '\u001b[?1049h'
const FIRST_SCREEN = '\u001b[?1049l'

export async function watchBoard(options: WatchOptions): Promise<number> {
  return process.stdout.isTTY ? watchOnTerminal(options) : watchAsLog(options)
}

async function watchOnTerminal({ read, render }: WatchOptions): Promise<number> {
  const leave = new AbortController()
  let seen: SeenStatus | null = null
  const lines = (): readonly string[] =>
    seen === null
      ? ['asking the agents …']
      : render(seen, { width: widthOf(process.stdout), colour: colourFor(process.stdout) })
  const draw = (): void => {
    process.stdout.write(screenText(lines(), process.stdout.rows || 24))
  }
  const restore = enterScreen(() => leave.abort())
  process.stdout.on('resize', draw)
  try {
    draw()
    while (!leave.signal.aborted) {
      const started = performance.now()
      seen = await read(leave.signal)
      if (leave.signal.aborted) break
      draw()
      await pause(INTERVAL_MS - (performance.now() - started), leave.signal)
    }
  } finally {
    process.stdout.off('resize', draw)
    restore()
  }
  // What was last seen stays readable after leaving.
  print(lines())
  return EXIT.done
}

/** Pure: from the top, each line cleared behind its end, and never more lines than rows (the screen would scroll). */
export function screenText(lines: readonly string[], rows: number): string {
  const footer = 'q leaves'
  const shown = lines.slice(0, Math.max(1, rows - 2))
  const body = [...shown, '', footer].slice(0, rows).map((line) => `${line}\u001b[K`)
  return `\u001b[H${body.join('\n')}\u001b[J`
}

/** Second screen, no cursor, keys one by one; the returned function undoes it all. */
function enterScreen(onLeave: () => void): () => void {
  const { stdin, stdout } = process
  const onKey = (key: Buffer): void => {
    // In raw mode Ctrl-C is the character 3, not a signal.
    if (key.includes('q') || key.includes('Q') || key.includes(3)) onLeave()
  }
  const leaveScreen = (): void => {
    stdout.write(FIRST_SCREEN)
  }
  process.on('SIGINT', onLeave)
  process.on('SIGTERM', onLeave)
  process.on('SIGHUP', onLeave)
  process.on('exit', leaveScreen)
  stdout.write(SECOND_SCREEN)
  const showCursor = hideCursor(stdout)
  if (stdin.isTTY) stdin.setRawMode(true).on('data', onKey).resume()
  return () => {
    if (stdin.isTTY) stdin.setRawMode(false).off('data', onKey).pause()
    process.off('SIGINT', onLeave)
    process.off('SIGTERM', onLeave)
    process.off('SIGHUP', onLeave)
    process.off('exit', leaveScreen)
    leaveScreen()
    showCursor()
  }
}

async function watchAsLog({ read, render }: WatchOptions): Promise<number> {
  const leave = new AbortController()
  const onLeave = (): void => leave.abort()
  process.once('SIGINT', onLeave)
  process.once('SIGTERM', onLeave)
  readerGone.addEventListener('abort', onLeave)
  let last: SeenStatus | null = null
  while (!leave.signal.aborted) {
    const started = performance.now()
    const seen = await read(leave.signal)
    if (leave.signal.aborted) break
    if (last === null || gist(last.status) !== gist(seen.status)) {
      const lines = render(seen, { width: widthOf(process.stdout), colour: colourFor(process.stdout) })
      print([`--- ${new Date().toISOString()}`, ...lines, ''])
    }
    last = seen
    await pause(INTERVAL_MS - (performance.now() - started), leave.signal)
  }
  return EXIT.done
}

/** Pure: what makes a change worth a new board. Positions and lag change all the time and are not. */
export function gist(status: ClusterStatus): string {
  return JSON.stringify({
    ...status,
    nodes: status.nodes.map((node) => ({
      ...node,
      flushLsn: null,
      replayLsn: null,
      replayLagBytes: null,
      replayLagMs: null,
    })),
    problems: status.problems.map(({ code, node, severity }) => ({ code, node, severity })),
  })
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (ms <= 0 || signal.aborted) return Promise.resolve()
  return new Promise((resolve) => {
    const finish = (): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', finish)
      resolve()
    }
    const timer = setTimeout(finish, ms)
    signal.addEventListener('abort', finish)
  })
}
