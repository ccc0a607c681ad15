/** `understudy history`: every change of primary, what it was, and how long it took; one of them with all its phases. */
import { mergeHistories } from '../../api/history.ts'
import { UnderstudyError } from '../../errors/codes.ts'
import { askHistory } from '../api-client.ts'
import type { ClusterFlags } from '../flags.ts'
import { renderEntry, renderHistory } from '../history-list.ts'
import { openCluster } from '../local/open.ts'
import { colourFor, EXIT, note, print, printJson, widthOf } from '../output.ts'
import { paintFor } from '../paint.ts'

export interface HistoryOptions extends ClusterFlags {
  readonly epoch?: number
  readonly limit: number
  readonly json?: true
}

export async function run(options: HistoryOptions): Promise<number> {
  const { config } = await openCluster(options)
  const answers = await Promise.all(
    config.nodes.map(async (node) => ({ node, answer: await askHistory(node, options.epoch) })),
  )
  const silent = answers.filter(({ answer }) => answer.kind === 'failed')
  if (silent.length === answers.length)
    throw new UnderstudyError('unreachable', 'no agent of the cluster answers')
  for (const { node } of silent) note(`${node.name} does not answer: what only it saw may be missing here.`)
  const lists = answers.map(({ answer }) => (answer.kind === 'ok' ? answer.value : []))
  const entries = mergeHistories(lists).slice(-options.limit)
  const screen = { width: widthOf(process.stdout), paint: paintFor(colourFor(process.stdout)) }
  if (options.epoch === undefined) {
    if (options.json) printJson(entries)
    else print(entries.length === 0 ? 'The primary has never changed.' : renderHistory(entries, screen))
    return EXIT.done
  }
  const [entry] = entries
  if (entry === undefined)
    throw new UnderstudyError(
      'not-found',
      `nothing is known of a change of primary in epoch ${options.epoch}`,
      {
        hint: '`understudy history` lists what is known.',
      },
    )
  if (options.json) printJson(entry)
  else print(renderEntry(entry, screen))
  return EXIT.done
}
