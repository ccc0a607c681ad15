/** How a change of primary that was asked for has ended: as lines, or as the object of --json. */
import type { ClusterEvent, ErrorBody, HistoryEntry } from '../api/contract.ts'
import type { ResolvedNode } from '../config/load.ts'
import type { Check } from '../core/check.ts'
import type { PhaseTime } from '../core/history-phases.ts'
import { ERRORS, UnderstudyError } from '../errors/codes.ts'
import { type ChangeWatch, type Ending, entryOf } from './change-watch.ts'
import { colourFor, EXIT, failureText, note, print, printJson } from './output.ts'
import { paintFor } from './paint.ts'
import { phaseLines } from './phase-lines.ts'
import { createStepView } from './steps.ts'

export interface Change {
  readonly name: 'switchover' | 'failover'
  readonly from: string
  readonly wanted: string
  readonly epoch: number
  readonly checks: readonly Check[]
  /** Sends the request; errors: what it is refused with. */
  readonly ask: () => Promise<unknown>
}

/** The object of --json. */
export interface ChangeResult {
  readonly from: string
  readonly to: string
  readonly wanted: string
  readonly reached: boolean
  readonly epoch: number
  readonly durationMs: number
  readonly outageMs: number | null
  readonly phases: readonly PhaseTime[]
  readonly checks: readonly Check[]
  readonly error?: ErrorBody['error']
}

export async function carryOut(
  change: Change,
  watch: ChangeWatch,
  options: { readonly nodes: readonly ResolvedNode[]; readonly json: boolean },
): Promise<number> {
  const colour = colourFor(process.stderr)
  const view = createStepView({ stream: process.stderr, plain: options.json, colour })
  view.step(change.name, `${change.from} -> ${change.wanted}`)
  try {
    const result = await followChange(change, watch, {
      nodes: options.nodes,
      onEvent: (event) => view.detail(change.name, progress(event)),
      onEnd: ({ primary, epoch }, durationMs) => {
        const words = endingWords(change, primary, epoch)
        if (primary === change.wanted) view.done(change.name, words, durationMs)
        else view.fail(change.name, words)
        view.close()
      },
    })
    if (options.json) printJson(result)
    else tell(result)
    return result.reached ? EXIT.done : EXIT.failed
  } finally {
    view.close()
  }
}

export interface Following {
  readonly nodes: readonly ResolvedNode[]
  readonly onEvent: (event: ClusterEvent) => void
  /** The change is over; the history of it is waited for a moment longer. */
  readonly onEnd: (ending: Ending, durationMs: number) => void
}

/** Errors: what the request is refused with; refused, timeout. */
export async function followChange(
  change: Change,
  watch: ChangeWatch,
  { nodes, onEvent, onEnd }: Following,
): Promise<ChangeResult> {
  const beganAtMs = performance.now()
  await change.ask()
  const ending = await watch.ending({
    epoch: change.epoch,
    refusedKind: `${change.name}-refused`,
    tell: onEvent,
  })
  const durationMs = Math.round(performance.now() - beganAtMs)
  onEnd(ending, durationMs)
  return resultOf(change, ending, durationMs, await entryOf(nodes, ending.epoch))
}

function progress({ node, message }: ClusterEvent): string {
  return `${node}: ${message}`
}

function endingWords(change: Change, primary: string, epoch: number): string {
  if (primary === change.wanted) return `${primary} is the primary of epoch ${epoch}`
  const who = primary === change.from ? `the old primary ${primary}` : primary
  return `${change.wanted} did not take over: ${who} is the primary of epoch ${epoch}`
}

function resultOf(
  change: Change,
  ending: { readonly epoch: number; readonly primary: string },
  durationMs: number,
  entry: HistoryEntry | null,
): ChangeResult {
  const reached = ending.primary === change.wanted
  const message = endingWords(change, ending.primary, ending.epoch)
  return {
    from: change.from,
    to: ending.primary,
    wanted: change.wanted,
    reached,
    epoch: ending.epoch,
    durationMs,
    outageMs: entry?.outageMs ?? null,
    phases: entry?.phases ?? [],
    checks: change.checks,
    ...(!reached && { error: { code: 'not-reached', message, hint: ERRORS['not-reached'].hint } }),
  }
}

function tell(result: ChangeResult): void {
  print(phaseLines(result.phases))
  if (!result.phases.some(({ name }) => name === 'oldPrimaryStreams') && result.from !== result.to)
    note(`${result.from} does not stream yet; \`understudy why ${result.from}\` says what it waits for.`)
  if (result.error === undefined) return
  const { message, hint } = result.error
  note(
    failureText(new UnderstudyError('not-reached', message, { hint }), paintFor(colourFor(process.stderr))),
  )
}
