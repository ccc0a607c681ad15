/** Events of several nodes as one list. Each agent knows its own events best, and may know others' too. Pure. */
import type { ClusterEvent } from '../api/contract.ts'
import { humanDuration } from './humanise.ts'
import type { Paint } from './paint.ts'
import { oneLine, padEnd } from './text.ts'

/** The id grows per node; the instant keeps two lives of a node apart whose history was wiped in between. */
export function eventKey(event: ClusterEvent): string {
  return `${event.node}/${event.id}/${event.at}`
}

/**
 * Oldest first, each event once. By epoch, then by time: within an epoch the nodes' clocks are all that there is, but what belongs to a
 * later epoch came later, whatever a clock says.
 */
export function mergeEvents(lists: readonly (readonly ClusterEvent[])[]): ClusterEvent[] {
  const unique = new Map<string, ClusterEvent>()
  for (const event of lists.flat()) unique.set(eventKey(event), event)
  return inEpochs([...unique.values()])
    .sort((a, b) => a.epoch - b.epoch || inTime(a.event, b.event))
    .map(({ event }) => event)
}

interface EpochEvent {
  readonly event: ClusterEvent
  readonly epoch: number
}

/**
 * What is told late of an older epoch belongs to the newest that its node had told of. What names none, of a node that has just started,
 * belongs to the newest of all.
 */
function inEpochs(events: readonly ClusterEvent[]): EpochEvent[] {
  const newest = new Map<string, number>()
  let newestOfAll = 0
  return [...events].sort(inTime).map((event) => {
    const epoch = Math.max(event.epoch ?? newestOfAll, newest.get(event.node) ?? 0)
    newest.set(event.node, epoch)
    newestOfAll = Math.max(newestOfAll, epoch)
    return { event, epoch }
  })
}

function inTime(a: ClusterEvent, b: ClusterEvent): number {
  if (a.node === b.node && a.id !== b.id && Date.parse(a.at) === Date.parse(b.at)) return a.id - b.id
  return Date.parse(a.at) - Date.parse(b.at) || (a.node < b.node ? -1 : 1)
}

export function renderEvent(event: ClusterEvent, paint: Paint): string {
  const since = event.details?.['sinceElectingMs']
  const facts = [
    event.rule === undefined ? null : oneLine(event.rule),
    event.epoch === undefined ? null : `epoch ${event.epoch}`,
    typeof since === 'number' ? `+${humanDuration(since)}` : null,
  ].filter((fact) => fact !== null)
  const behind = facts.length === 0 ? '' : ` ${paint('dim', `(${facts.join(', ')})`)}`
  const head = `${paint('dim', oneLine(event.at))}  ${paint('bold', padEnd(oneLine(event.node), 8))}`
  return `${head}  ${padEnd(oneLine(event.kind), 14)}  ${oneLine(event.message)}${behind}`
}

/**
 * The events in a stream of server-sent events: feed text as it arrives, get what became whole. A comment or an event of
 * another kind gives nothing. https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
 */
export function createEventStreamParser(): (text: string) => string[] {
  let rest = ''
  let data: string[] = []
  return (text) => {
    const whole: string[] = []
    const lines = (rest + text).split(/\r\n|\n|\r(?!$)/)
    rest = lines.pop() ?? ''
    for (const line of lines) {
      if (line === '') {
        if (data.length > 0) whole.push(data.join('\n'))
        data = []
      } else if (line.startsWith('data:')) {
        data.push(line.slice(5).replace(/^ /, ''))
      }
    }
    return whole
  }
}
