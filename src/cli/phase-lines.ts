/** The phases of a change of primary as lines: when each was reached, and what it took. Pure. */
import type { PhaseName, PhaseTime } from '../core/history-phases.ts'
import { humanDuration } from './humanise.ts'
import { padEnd, padStart } from './text.ts'

const WORDS: Readonly<Record<PhaseName, string>> = {
  requested: 'requested',
  lastHeard: 'primary last heard',
  detected: 'loss detected',
  electing: 'election begun',
  oldPrimaryStopped: 'old primary stopped',
  fenced: 'voters fenced',
  voted: 'voted',
  elected: 'elected',
  promoted: 'promoted',
  firstQuorumWrite: 'first quorum write',
  steady: 'steady',
  oldPrimaryStreams: 'old primary streams again',
}

export function phaseLines(phases: readonly PhaseTime[]): string[] {
  const ordered = [...phases].sort((a, b) => a.ms - b.ms)
  const names = ordered.map(({ name }) => WORDS[name])
  const column = Math.max(0, ...names.map((name) => name.length))
  return ordered.map(({ ms }, index) => {
    const took = index === 0 ? '' : `  (+${humanDuration(ms - (ordered[index - 1]?.ms ?? 0))})`
    return `  ${padEnd(names[index] ?? '', column)}  ${padStart(humanDuration(ms), 7)}${took}`
  })
}
