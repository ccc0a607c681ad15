/** The settings of the proxy's own that a client can see and change on the ports for reads: what they may be, and how they are printed. Pure. */
import { parseDuration } from '../../config/fields.ts'
import { type Line, type ReadBound, standingOf } from '../../core/read-bound.ts'
import type { ErrorText } from '../../protocol/backend-builders.ts'
import type { Level, OwnSetting, Target } from '../classify/verdict.ts'
import { parseToken } from './token.ts'

const TARGETS: readonly Target[] = ['auto', 'read-write', 'read-only']
const LEVELS: readonly Level[] = ['eventual', 'monotonic', 'session', 'token', 'primary']

export type Parsed<T> =
  | { readonly kind: 'ok'; readonly value: T; readonly warning?: ErrorText }
  | { readonly kind: 'failed'; readonly error: ErrorText }

export function parseTarget(text: string): Parsed<Target> {
  return oneOf('understudy.target', TARGETS, text)
}

export function parseLevel(text: string): Parsed<Level> {
  return oneOf('understudy.level', LEVELS, text)
}

/** Milliseconds. A number alone is one of milliseconds, as with PostgreSQL's own settings. */
export function parseMaxLag(text: string): Parsed<number> {
  const ms = /^\d{1,9}$/.test(text.trim()) ? Number(text) : parseDuration(text.trim())
  return ms === null
    ? invalid('understudy.max_lag', text, 'A duration is a number and a unit: 500ms, 10s, 5m.')
    : { kind: 'ok', value: ms }
}

export function formatMaxLag(ms: number): string {
  return ms % 1000 === 0 ? `${ms / 1000}s` : `${ms}ms`
}

/** null: none. `line` null: nothing is known of the cluster yet. */
export function parseBound(text: string, line: Line | null): Parsed<ReadBound | null> {
  if (text === '') return { kind: 'ok', value: null }
  const bound = parseToken(text)
  if (bound === null)
    return invalid(
      'understudy.token',
      text,
      'A token is what SHOW understudy.token gives, whole: it begins with u1. and has 35 characters.',
    )
  switch (line === null ? 'onLine' : standingOf(bound, line)) {
    case 'foreign':
      return invalid('understudy.token', text, 'It comes from another cluster: its data was never here.')
    case 'past':
      return { kind: 'ok', value: bound, warning: MAY_BE_LOST }
    default:
      return { kind: 'ok', value: bound }
  }
}

const MAY_BE_LOST: ErrorText = {
  severity: 'WARNING',
  code: '01000',
  message: 'what this token stands for may have been lost at a change of primary',
  hint: 'Reads of this session go to the primary until it gets another token.',
}

function oneOf<T extends string>(name: OwnSetting, allowed: readonly T[], text: string): Parsed<T> {
  const value = allowed.find((each) => each === text.trim().toLowerCase())
  return value === undefined
    ? invalid(name, text, `Available values: ${allowed.join(', ')}.`)
    : { kind: 'ok', value }
}

function invalid(name: OwnSetting, text: string, hint: string): { kind: 'failed'; error: ErrorText } {
  const shown = text.length > 64 ? `${text.slice(0, 64)}…` : text
  return {
    kind: 'failed',
    error: {
      severity: 'ERROR',
      code: '22023',
      message: `invalid value for parameter "${name}": "${shown}"`,
      hint,
    },
  }
}
