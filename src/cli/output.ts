/**
 * The one place that writes to the terminal, so that colours, --json and a closed pipe (`status | head -1`) are treated the
 * same everywhere. Results go to standard output; everything about them goes to standard error.
 */
import { type ErrorCode, toUnderstudyError, type UnderstudyError } from '../errors/codes.ts'
import { type Paint, paintFor, wantsColour } from './paint.ts'
import { oneLine } from './text.ts'

/** 0 done, 1 refused or failed, 2 wrong usage, 3 reachable but not healthy, 4 nothing reachable. */
export const EXIT = { done: 0, failed: 1, usage: 2, unhealthy: 3, unreachable: 4 } as const

const EXIT_OF_CODE: Partial<Record<ErrorCode, number>> = {
  usage: EXIT.usage,
  unhealthy: EXIT.unhealthy,
  unreachable: EXIT.unreachable,
}

export function exitCodeOf(code: ErrorCode): number {
  return EXIT_OF_CODE[code] ?? EXIT.failed
}

export function print(lines: string | readonly string[]): void {
  const text = typeof lines === 'string' ? lines : lines.join('\n')
  process.stdout.write(`${text}\n`)
}

export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`)
}

/** One object per line: what follows a stream of events can be read while it grows. */
export function printJsonLine(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`)
}

/** A remark beside the result. */
export function note(text: string): void {
  process.stderr.write(`${text}\n`)
}

export function warn(text: string): void {
  note(`${paintFor(colourFor(process.stderr))('yellow', 'warning:')} ${text}`)
}

export function colourFor(stream: { readonly isTTY?: boolean }): boolean {
  return wantsColour({ isTerminal: stream.isTTY === true, env: process.env })
}

export function widthOf(stream: { readonly columns?: number }): number {
  // A pipe has no width: wide enough that no column is dropped from what a script or a log keeps.
  return stream.columns || 160
}

/** Prints what was thrown (--json: as an object on standard output) and returns the exit code that belongs to it. */
export function reportFailure(thrown: unknown, options: { readonly json: boolean }): number {
  const error = toUnderstudyError(thrown)
  if (options.json)
    printJson({ error: { code: error.code, message: oneLine(error.message), hint: error.hint } })
  else note(failureText(error, paintFor(colourFor(process.stderr))))
  // A bug: the trace is what makes a report of it useful.
  if (error.code === 'internal') note(traceOf(error))
  return exitCodeOf(error.code)
}

export function failureText(error: UnderstudyError, paint: Paint): string {
  return `${paint('red', `error ${error.code}:`)} ${error.message}\n${paint('bold', 'HINT:')} ${error.hint}`
}

function traceOf(error: UnderstudyError): string {
  const origin = error.cause instanceof Error ? error.cause : error
  return origin.stack ?? String(origin)
}

const reader = new AbortController()

/** Aborted when whoever read our output has left: for those that would otherwise go on printing for ever. */
export const readerGone: AbortSignal = reader.signal

/**
 * The reader of a pipe may leave early (`status | head -1`): no failure of ours, no reason for a stack trace, and none to exit at
 * once either, because `up` has a cluster to stop in order.
 */
export function guardPipes(): void {
  for (const stream of [process.stdout, process.stderr])
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error
      if (stream === process.stdout) reader.abort()
    })
}

/** Waits until both streams have taken everything: process.exit would cut off what a slow pipe has not read yet. */
export async function flushed(): Promise<void> {
  await Promise.all(
    [process.stdout, process.stderr].map(
      (stream) => new Promise<void>((resolve) => stream.write('', () => resolve())),
    ),
  )
}
