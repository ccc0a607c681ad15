/** What a client says in a comment at the very beginning of a statement: understudy: target=read-only level=eventual. */
import type { Hint, Level, Target } from './verdict.ts'

const TARGETS: readonly Target[] = ['auto', 'read-write', 'read-only']
const LEVELS: readonly Level[] = ['eventual', 'monotonic', 'session', 'token', 'primary']

const LEADING_COMMENT = /^\s*\/\*((?:(?!\/\*)[\s\S])*?)\*\//

export interface FoundHint {
  readonly hint: Hint | null
  /** What is wrong with it, for a person; null when nothing is. */
  readonly complaint: string | null
}

const NONE: FoundHint = { hint: null, complaint: null }

/** Other programs' comments may stand before it. */
export function findHint(text: string): FoundHint {
  let rest = text
  for (let comment = LEADING_COMMENT.exec(rest); comment !== null; comment = LEADING_COMMENT.exec(rest)) {
    const words = /^\s*understudy:\s*([\s\S]*?)\s*$/.exec(comment[1] ?? '')
    if (words !== null) return readWords((words[1] ?? '').split(/[\s,]+/))
    rest = rest.slice(comment[0].length)
  }
  return NONE
}

function readWords(words: readonly string[]): FoundHint {
  let target: Target | null = null
  let level: Level | null = null
  for (const word of words) {
    const [name, value] = word.split('=')
    const asTarget = name === 'target' ? TARGETS.find((known) => known === value) : undefined
    const asLevel = name === 'level' ? LEVELS.find((known) => known === value) : undefined
    if (asTarget === undefined && asLevel === undefined) {
      return { hint: null, complaint: `"${word}" in its comment is neither a target nor a level` }
    }
    target = asTarget ?? target
    level = asLevel ?? level
  }
  return { hint: { target, level }, complaint: null }
}
