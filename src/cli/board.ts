/**
 * The board: the whole cluster on one screen, as a pure function of its status. `up` shows it when it is ready, `status` when
 * asked, `status --watch` again and again.
 */
import type { ClusterStatus, NodeStatus, Problem, Why } from '../api/contract.ts'
import { hostInUri } from '../config/fields.ts'
import { humanBytes, humanDuration, plural } from './humanise.ts'
import { type Paint, paintFor, type Style } from './paint.ts'
import { type Cell, type Column, renderTable } from './table.ts'
import { oneLine, padEnd, truncate, wrap } from './text.ts'
import { quorumSentence, stateWords, verdict } from './verdict.ts'

export interface BoardOptions {
  readonly width: number
  readonly colour: boolean
  /** How to connect, one line each (connectionLines). */
  readonly connection?: readonly string[]
  readonly why?: readonly Why[]
}

const INDENT = '  '
const UNKNOWN = '-'

const COLUMNS: readonly Column[] = [
  { title: 'NODE', dropOrder: 0 },
  { title: 'ROLE', dropOrder: 0 },
  { title: 'STATE', dropOrder: 0 },
  { title: 'TIMELINE', align: 'right', dropOrder: 4 },
  { title: 'FLUSH LSN', dropOrder: 5 },
  { title: 'BEHIND', align: 'right', dropOrder: 1 },
  { title: 'DELAY', align: 'right', dropOrder: 2 },
  { title: 'SYNC', dropOrder: 3 },
  { title: 'ADDRESS', dropOrder: 6 },
  { title: 'STREAMS FROM', dropOrder: 7 },
]

export function renderBoard(status: ClusterStatus, options: BoardOptions): string[] {
  const paint = paintFor(options.colour)
  const lines = [...headline(status, options.width, paint), '']
  const rows = status.nodes.map((node) => nodeCells(node, status))
  lines.push(...renderTable(COLUMNS, rows, { width: options.width, paint, indent: INDENT }), '')
  lines.push(...labelled('Durability', quorumSentence(status), options.width, paint))
  lines.push(...lossLines(status, options.width, paint))
  lines.push(...operatorLines(status, options.width, paint))
  if (status.endpoints !== null) {
    const { auto, readWrite, readOnly } = status.endpoints
    const served = [
      ['auto', auto],
      ['read-write', readWrite],
      ['read-only', readOnly],
    ].flatMap(([name, address]) => (address === null ? [] : [`${name} ${address}`]))
    if (served.length > 0) lines.push(...labelled('Proxy', served.join(', '), options.width, paint))
  }
  lines.push(...proxyLines(status, options.width, paint))
  for (const why of options.why ?? [])
    lines.push(...labelled(why.node, `${oneLine(why.reason)} (${why.rule})`, options.width, paint))
  if (status.problems.length > 0) lines.push('', ...problemLines(status.problems, options.width, paint))
  if (options.connection !== undefined && options.connection.length > 0)
    lines.push('', ...options.connection.map((line) => truncate(`${INDENT}${line}`, options.width)))
  return lines
}

/** What would happen if a node were lost now; nodes of which the same is true share a line. */
function lossLines({ whatIf }: ClusterStatus, width: number, paint: Paint): string[] {
  const sentences = new Map<string, string[]>()
  for (const { node, sentence } of whatIf ?? [])
    sentences.set(sentence, [...(sentences.get(sentence) ?? []), node])
  return [...sentences].flatMap(([sentence, nodes], index) => {
    const names = nodes.length === 1 ? nodes.join('') : `${nodes.slice(0, -1).join(', ')} or ${nodes.at(-1)}`
    return labelled(index === 0 ? 'If lost' : '', `${names}: ${sentence}`, width, paint)
  })
}

/** One each; an agent that is older than this program says nothing of them. */
function proxyLines({ proxies, epoch }: ClusterStatus, width: number, paint: Paint): string[] {
  return (proxies ?? []).flatMap((proxy) => {
    const words = [
      plural(proxy.clients, 'client'),
      ...(proxy.waiting === 0 ? [] : [`${proxy.waiting} waiting`]),
      plural(proxy.servers, 'server connection'),
      ...(proxy.workers === 1 ? [] : [`${proxy.workers} workers`]),
      ...(proxy.held ? ['HELD: it knows no primary that takes writes'] : []),
      ...(proxy.paused ? ['PAUSED by an operator (`RESUME` in its console)'] : []),
      ...(epoch === null || proxy.epoch === epoch ? [] : [`still in epoch ${proxy.epoch}`]),
    ]
    const where = proxy.node === null ? '' : ` at ${oneLine(proxy.node)}`
    return labelled('', `proxy${where}: ${words.join(', ')}`, width, paint)
  })
}

/** What operators have said, and must not forget. */
function operatorLines({ paused, scheduled }: ClusterStatus, width: number, paint: Paint): string[] {
  const lines: string[] = []
  if (paused !== null) {
    const text = `PAUSED since ${oneLine(paused.at)} by ${oneLine(paused.by)}: ${oneLine(paused.reason)} (\`understudy resume\`)`
    lines.push(...labelled('Failover', text, width, paint))
  }
  if (scheduled !== null) {
    const text = `to ${scheduled.to} at ${oneLine(scheduled.at)}, asked for by ${oneLine(scheduled.by)}`
    lines.push(...labelled('Switchover', text, width, paint))
  }
  return lines
}

function headline(status: ClusterStatus, width: number, paint: Paint): string[] {
  const { mood, sentence } = verdict(status)
  const style: Style = mood === 'good' ? 'green' : mood === 'attention' ? 'yellow' : 'red'
  const facts = [
    status.epoch === null ? null : `epoch ${status.epoch}`,
    status.timelineId === null ? null : `timeline ${status.timelineId}`,
    status.phase === null || status.phase === 'steady' ? null : status.phase,
  ].filter((fact) => fact !== null)
  const name = `${paint('bold', status.cluster)}${paint('dim', facts.length === 0 ? '' : `  ${facts.join(', ')}`)}`
  return [name, ...wrap(sentence, width).map((line) => paint(style, line))]
}

function nodeCells(node: NodeStatus, status: ClusterStatus): Cell[] {
  const isPrimary = node.name === status.primary
  const number = (value: number | null, words: (known: number) => string): Cell =>
    value === null || node.role === 'primary' ? { text: UNKNOWN, style: 'dim' } : { text: words(value) }
  const optional = (text: string | null): Cell =>
    text === null ? { text: UNKNOWN, style: 'dim' } : { text: oneLine(text) }
  return [
    isPrimary ? { text: node.name, style: 'bold' } : { text: node.name },
    node.role === 'unknown' ? { text: 'unknown', style: 'dim' } : { text: node.role },
    { text: stateWords(node.state), style: stateStyle(node.state) },
    optional(node.timelineId === null ? null : String(node.timelineId)),
    optional(node.flushLsn),
    number(node.replayLagBytes, humanBytes),
    number(node.replayLagMs, humanDuration),
    optional(node.syncState),
    { text: `${hostInUri(node.host)}:${node.port}` },
    optional(node.upstream),
  ]
}

function stateStyle(state: NodeStatus['state']): Style {
  if (state === 'running' || state === 'streaming') return 'green'
  return state === 'unreachable' || state === 'stopped' || state === 'fenced' ? 'red' : 'yellow'
}

function labelled(label: string, text: string, width: number, paint: Paint): string[] {
  const column = Math.max(12, label.length + 2)
  return wrap(text, Math.max(10, width - INDENT.length - column)).map((line, index) => {
    const head = padEnd(index === 0 ? label : '', column)
    return `${INDENT}${paint('dim', head)}${line}`
  })
}

function problemLines(problems: readonly Problem[], width: number, paint: Paint): string[] {
  return problems.flatMap((problem) => {
    const style: Style = problem.severity === 'error' ? 'red' : 'yellow'
    const named = problem.node === null || problem.message.startsWith(problem.node)
    const where = named ? '' : `${problem.node}: `
    const room = Math.max(10, width - INDENT.length * 2)
    const said = wrap(`${where}${oneLine(problem.message)} [${problem.code}]`, room)
    const hint = problem.hint === '' ? [] : wrap(`HINT: ${oneLine(problem.hint)}`, room)
    return [
      ...said.map((line, index) => `${INDENT}${index === 0 ? paint(style, '! ') : '  '}${line}`),
      ...hint.map((line) => `${INDENT}  ${paint('dim', line)}`),
    ]
  })
}

export interface ConnectionOptions {
  /** As the person would type it: "understudy", or "npx understudy" in a clone. */
  readonly program: string
  /** The --data that every command needs, or null when the default directory is meant. */
  readonly data: string | null
  /** The same for a cluster that is named by --config. */
  readonly config?: string
}

/** The commands that come next; the URI itself holds a password and is shown on demand only. */
export function connectionLines({ program, data, config }: ConnectionOptions): string[] {
  const named = data === null ? '' : ` --data ${shellQuote(data)}`
  const suffix = config === undefined ? named : ` --config ${shellQuote(config)}`
  const commands: readonly (readonly [string, string])[] = [
    [`${program} psql${suffix}`, 'opens psql on the primary'],
    [`${program} url${suffix}`, 'prints the URI for applications'],
    [`${program} status --watch${suffix}`, 'keeps this board up to date'],
  ]
  const width = Math.max(...commands.map(([command]) => command.length))
  return commands.map(([command, purpose]) => `${padEnd(command, width)}   ${purpose}`)
}

export function shellQuote(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}
