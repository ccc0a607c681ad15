/** `understudy events`: what happened on all nodes as one list, and with --follow what happens. */
import type { ClusterEvent } from '../../api/contract.ts'
import type { ResolvedNode } from '../../config/load.ts'
import { UnderstudyError } from '../../errors/codes.ts'
import { type Answer, askEvents } from '../api-client.ts'
import { eventKey, mergeEvents, renderEvent } from '../event-list.ts'
import { followEvents } from '../event-stream.ts'
import type { ClusterFlags } from '../flags.ts'
import { openCluster } from '../local/open.ts'
import { colourFor, EXIT, note, print, printJson, printJsonLine, readerGone } from '../output.ts'
import { paintFor } from '../paint.ts'

export interface EventsOptions extends ClusterFlags {
  readonly json?: boolean
  readonly follow?: boolean
  readonly limit: number
}

interface Heard {
  readonly node: ResolvedNode
  readonly answer: Answer<readonly ClusterEvent[]>
}

export async function run(options: EventsOptions): Promise<number> {
  const { config } = await openCluster(options)
  const heard: Heard[] = await Promise.all(
    config.nodes.map(async (node) => ({ node, answer: await askEvents(node) })),
  )
  const lists = heard.map(({ answer }) => (answer.kind === 'ok' ? answer.value : []))
  const silent = heard.filter(({ answer }) => answer.kind === 'failed')
  if (silent.length === heard.length && !options.follow)
    throw new UnderstudyError('unreachable', 'no agent of the cluster answers')
  for (const { node } of silent) note(`${node.name} does not answer: its newest events may be missing here.`)

  const newest = mergeEvents(lists).slice(-options.limit)
  if (!options.follow && options.json) printJson(newest)
  else printEvents(newest, options)
  if (options.follow) await follow(heard, options)
  return EXIT.done
}

function printEvents(events: readonly ClusterEvent[], { json }: EventsOptions): void {
  const paint = paintFor(colourFor(process.stdout))
  for (const event of events) {
    if (json) printJsonLine(event)
    else print(renderEvent(event, paint))
  }
}

/** Until Ctrl-C. */
async function follow(heard: readonly Heard[], options: EventsOptions): Promise<void> {
  const leave = new AbortController()
  process.once('SIGINT', () => leave.abort())
  process.once('SIGTERM', () => leave.abort())
  const signal = AbortSignal.any([leave.signal, readerGone])
  const began = Date.now()
  const printed = new Set<string>()
  for (const { answer } of heard)
    if (answer.kind === 'ok') for (const event of answer.value) printed.add(eventKey(event))
  const onEvent = (event: ClusterEvent): void => {
    const key = eventKey(event)
    if (printed.has(key)) return
    printed.add(key)
    printEvents([event], options)
  }
  await Promise.all(
    heard.map(({ node, answer }) =>
      followEvents(node, {
        after: lastId(node.name, answer),
        // Who was away at the beginning tells its whole history when it comes back: only its news are wanted.
        onEvent: (event) => {
          if (answer.kind === 'ok' || Date.parse(event.at) >= began) onEvent(event)
        },
        signal,
      }),
    ),
  )
}

/** Ids are counted per node: those of other nodes' events say nothing about this one's. */
function lastId(node: string, answer: Answer<readonly ClusterEvent[]>): number {
  const own = answer.kind === 'ok' ? answer.value.filter((event) => event.node === node) : []
  return Math.max(0, ...own.map((event) => event.id))
}
