/** postgresql.auto.conf: where ALTER SYSTEM writes, read by PostgreSQL after our files, so that it could undo any of them. PURE. */
import type { RefusedParameter } from '../ports/postgres.ts'
import { parameterVerdict } from './parameters.ts'
import { parseLine } from './setting-text.ts'

export interface SanitizedAutoConf {
  readonly text: string
  readonly refused: readonly RefusedParameter[]
}

/** Comments out what would break the cluster, each with its reason, and keeps the rest byte for byte. */
export function sanitizeAutoConf(text: string, major: number): SanitizedAutoConf {
  const refused: RefusedParameter[] = []
  const lines = text.split('\n').flatMap((line) => {
    const problem = problemOf(line, major)
    if (problem === null) return [line]
    refused.push({ ...problem, origin: 'postgresql.auto.conf' })
    return [`# commented out by understudy: ${problem.reason}`, `# ${line}`]
  })
  return { text: lines.join('\n'), refused }
}

/**
 * As it was before: what was commented out counts again. ALTER SYSTEM writes the whole file anew and drops every comment; then what the old
 * one had, and nothing has now, is put at the end.
 */
export function restoredAutoConf(now: string, before: string): string {
  const text = now.replace(/^# commented out by understudy: .*\n# /gm, '')
  const names = new Set(settingsOf(text).map(({ name }) => name.toLowerCase()))
  const lost = settingsOf(before).filter(
    ({ name, value }) => !names.has(name.toLowerCase()) && isCommentedOut(name, value),
  )
  return lost.length === 0
    ? text
    : `${text.replace(/\n*$/, '\n')}${lost.map(({ line }) => line).join('\n')}\n`
}

/** Only what understudy would have commented out: the rest was reset by somebody. */
function isCommentedOut(name: string, value: string): boolean {
  return parameterVerdict(name, value, NEWEST_MAJOR).kind !== 'allowed'
}

const NEWEST_MAJOR = 18

function settingsOf(
  text: string,
): readonly { readonly name: string; readonly value: string; readonly line: string }[] {
  return text.split('\n').flatMap((line) => {
    const parsed = parseLine(line)
    return parsed.kind === 'setting' ? [{ name: parsed.name, value: parsed.value, line }] : []
  })
}

function problemOf(line: string, major: number): { readonly name: string; readonly reason: string } | null {
  const parsed = parseLine(line)
  switch (parsed.kind) {
    case 'blank':
      return null
    case 'unreadable':
      return {
        name: line.trim().slice(0, 60),
        reason: 'PostgreSQL cannot read this line and would not start',
      }
    case 'setting': {
      const verdict = parameterVerdict(parsed.name, parsed.value, major)
      return verdict.kind === 'allowed' ? null : { name: parsed.name, reason: verdict.reason }
    }
  }
}
