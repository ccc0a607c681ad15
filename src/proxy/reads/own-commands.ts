/** Carries out SET, RESET and SHOW of the proxy's own settings on what a session asks of its reads. */
import type { ErrorText } from '../../protocol/backend-builders.ts'
import type { OwnSetting, Verdict } from '../classify/verdict.ts'
import {
  formatMaxLag,
  type Parsed,
  parseBound,
  parseLevel,
  parseMaxLag,
  parseTarget,
} from './own-settings.ts'
import type { ReadSettings, SessionReads } from './session-reads.ts'
import { formatToken } from './token.ts'

export interface OwnResult {
  readonly shown?: string
  readonly error?: ErrorText
  readonly warning?: ErrorText
}

const NO_BOUND: ErrorText = {
  severity: 'ERROR',
  code: '57P03',
  message: 'no primary says right now up to where this session has written',
  hint: 'Try it again.',
}

/** The bound that a token is made of must have been taken before. */
export function runOwn(
  reads: SessionReads,
  own: Extract<Verdict, { kind: 'setOwn' | 'showOwn' }>,
): OwnResult {
  if (own.kind === 'showOwn') return show(reads, own.name)
  // As PostgreSQL has it: outside a transaction it has no effect.
  return own.local ? {} : set(reads, own.name, own.value)
}

function show(reads: SessionReads, name: OwnSetting): OwnResult {
  const { target, level, maxLagMs } = reads.settings
  switch (name) {
    case 'understudy.target':
      return { shown: target }
    case 'understudy.level':
      return { shown: level }
    case 'understudy.max_lag':
      return { shown: formatMaxLag(maxLagMs ?? reads.options.router.maxLagMs) }
    default: {
      if (!reads.isCovered) return { error: NO_BOUND }
      let shown = ''
      reads.currentBound((bound) => {
        shown = bound === null ? '' : formatToken(bound)
      })
      return { shown }
    }
  }
}

function set(reads: SessionReads, name: OwnSetting, value: string | null): OwnResult {
  const { settings: usual } = reads.options
  const change = <T>(parsed: Parsed<T>, changed: (taken: T) => Partial<ReadSettings>): OwnResult => {
    if (parsed.kind === 'failed') return { error: parsed.error }
    reads.settings = { ...reads.settings, ...changed(parsed.value) }
    return parsed.warning === undefined ? {} : { warning: parsed.warning }
  }
  switch (name) {
    case 'understudy.target':
      return change(parseTarget(value ?? usual.target), (target) => ({ target }))
    case 'understudy.level':
      return change(parseLevel(value ?? usual.level), (level) => ({ level }))
    case 'understudy.max_lag':
      if (value === null) {
        reads.settings = { ...reads.settings, maxLagMs: usual.maxLagMs }
        return {}
      }
      return change(parseMaxLag(value), (maxLagMs) => ({ maxLagMs }))
    default:
      return change(parseBound(value ?? '', reads.options.router.line), (bound) => {
        reads.token = bound
        return {}
      })
  }
}
