/** The explanation as a page to read; what is equal on all nodes is said once. Pure. */
import { humanDuration, plural } from '../humanise.ts'
import type { Paint } from '../paint.ts'
import { padEnd, wrap } from '../text.ts'
import type { ExplainedNode, ExplainedSetting, Explanation } from './explain.ts'

export interface ExplainScreen {
  readonly width: number
  readonly paint: Paint
}

const INDENT = '  '

export function explanationLines(explanation: Explanation, screen: ExplainScreen): string[] {
  const { paint } = screen
  const { durability, timers, nodes } = explanation
  return [
    paint('bold', `rto ${humanDuration(explanation.rtoMs)}, durability ${durability.mode}`),
    '',
    ...durabilityLines(explanation, screen),
    '',
    paint('bold', 'Timers of the agents'),
    ...timers.flatMap(({ name, ms, from, why }) =>
      entry(name.replace(/Ms$/, ''), humanDuration(ms), from, why, screen),
    ),
    ...nodes.flatMap((node, index) => nodeLines(node, nodes.slice(0, index), screen)),
  ]
}

function durabilityLines({ durability }: Explanation, screen: ExplainScreen): string[] {
  const { acks, standbys, why } = durability
  const sentence =
    acks === 0
      ? 'Commits wait for no standby.'
      : `Each commit waits until ${acks} of ${plural(standbys, 'standby', 'standbys')} have it on disk.`
  return [...wrap(sentence, screen.width), ...dimmed(why, screen)]
}

function nodeLines(node: ExplainedNode, before: readonly ExplainedNode[], screen: ExplainScreen): string[] {
  const { paint } = screen
  const [first] = before
  const seen = new Set(first?.groups.flatMap(({ settings }) => settings.map(identity)) ?? [])
  const title =
    first === undefined
      ? `PostgreSQL of ${node.node}`
      : `PostgreSQL of ${node.node}, where it differs from ${first.node}`
  const groups = node.groups.flatMap((group) => {
    const settings = group.settings.filter((setting) => !seen.has(identity(setting)))
    if (settings.length === 0) return []
    return [
      '',
      `${INDENT}${paint('cyan', group.title)}`,
      ...settings.flatMap(({ name, value, from, why }) =>
        entry(name, value ?? 'decided on its machine', from, why, screen),
      ),
    ]
  })
  const refused = first === undefined ? refusedLines(node, screen) : []
  return groups.length + refused.length === 0 ? [] : ['', paint('bold', title), ...groups, ...refused]
}

function refusedLines({ refused }: ExplainedNode, screen: ExplainScreen): string[] {
  if (refused.length === 0) return []
  const { paint } = screen
  return [
    '',
    `${INDENT}${paint('yellow', 'What you set and is left out')}`,
    ...refused.flatMap(({ name, value, why }) => entry(name, value, null, why, screen)),
  ]
}

function identity({ name, value }: ExplainedSetting): string {
  return `${name}\0${value ?? ''}`
}

function entry(
  name: string,
  value: string,
  from: string | null,
  why: string,
  screen: ExplainScreen,
): string[] {
  const { paint } = screen
  const how = from === null ? '' : `  ${paint('dim', `= ${from}`)}`
  return [
    `${INDENT}${padEnd(name, 30)} ${paint('bold', value === '' ? "''" : value)}${how}`,
    ...dimmed(why, screen),
  ]
}

function dimmed(text: string, { width, paint }: ExplainScreen): string[] {
  return wrap(text, Math.max(30, width - 6)).map((line) => `      ${paint('dim', line)}`)
}
