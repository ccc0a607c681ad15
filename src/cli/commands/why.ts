/** `understudy why`: the rule that each node follows right now and the sentence that goes with it (promise P6). */
import type { Why } from '../../api/contract.ts'
import { nodeOf } from '../../config/load.ts'
import { UnderstudyError } from '../../errors/codes.ts'
import { type Answer, askWhy } from '../api-client.ts'
import type { ClusterFlags } from '../flags.ts'
import { humanDuration } from '../humanise.ts'
import { openCluster } from '../local/open.ts'
import { colourFor, EXIT, print, printJson, widthOf } from '../output.ts'
import { type Paint, paintFor } from '../paint.ts'
import { oneLine, padEnd, wrap } from '../text.ts'

export interface WhyOptions extends ClusterFlags {
  readonly node?: string
  readonly json?: boolean
}

/** What --json prints for a node that does not answer: the same keys, so that a script need not ask which it got. */
export interface SilentNode {
  readonly node: string
  readonly rule: null
  readonly reason: string
  readonly since: null
}

export type WhyRow = Why | SilentNode

export async function run(options: WhyOptions): Promise<number> {
  const { config } = await openCluster(options)
  const asked = options.node === undefined ? config.nodes : [nodeOf(config, options.node)]
  const answers = await Promise.all(
    asked.map(async (node) => ({ name: node.name, answer: await askWhy(node) })),
  )
  if (answers.every(({ answer }) => answer.kind === 'failed')) throw nobodyAnswers(answers)
  const rows = answers.map(({ name, answer }) => whyRow(name, answer))
  if (options.json) printJson(options.node === undefined ? rows : rows[0])
  else
    print(
      renderWhy(rows, {
        width: widthOf(process.stdout),
        nowMs: Date.now(),
        paint: paintFor(colourFor(process.stdout)),
      }),
    )
  return EXIT.done
}

function whyRow(name: string, answer: Answer<Why>): WhyRow {
  if (answer.kind === 'ok') return answer.value
  return { node: name, rule: null, reason: `its agent does not answer (${answer.reason})`, since: null }
}

function nobodyAnswers(answers: readonly { readonly answer: Answer<Why> }[]): UnderstudyError {
  const reasons = answers.flatMap(({ answer }) => (answer.kind === 'failed' ? [answer.reason] : []))
  return new UnderstudyError('unreachable', `no agent answers (${reasons.join('; ')})`)
}

/** Pure. */
export function renderWhy(
  rows: readonly WhyRow[],
  { width, nowMs, paint }: { readonly width: number; readonly nowMs: number; readonly paint: Paint },
): string[] {
  const column = Math.max(...rows.map((row) => row.node.length)) + 2
  return rows.flatMap((row) => {
    const sinceMs = row.since === null ? Number.NaN : nowMs - Date.parse(row.since)
    const forSoLong = Number.isNaN(sinceMs) ? '' : `, for ${humanDuration(Math.max(0, sinceMs))}`
    const rule = row.rule === null ? 'silent' : `${oneLine(row.rule)}${forSoLong}`
    const head = `${paint('bold', padEnd(row.node, column))}${paint('dim', rule)}`
    const reason = wrap(oneLine(row.reason), Math.max(20, width - column))
    return [head, ...reason.map((line) => `${' '.repeat(column)}${line}`)]
  })
}
