/** What a client asks of its reads when it comes: by its port, and by start-up parameters, which say more. Pure. */
import type { ErrorText } from '../../protocol/backend-builders.ts'
import type { Target } from '../classify/verdict.ts'
import type { ReadDefaults } from '../settings.ts'
import { parseBound, parseLevel, parseMaxLag, parseTarget } from './own-settings.ts'
import type { ReadSettings } from './session-reads.ts'

export interface AskedReads {
  readonly settings: ReadSettings
  /** As text: it is read when the cluster is known. '' for none. */
  readonly token: string
}

/** Gives an error to tell, instead. `own` by names in lower case. */
export function askedReads(
  port: Target,
  defaults: Pick<ReadDefaults, 'level'>,
  own: ReadonlyMap<string, string>,
): AskedReads | ErrorText {
  let settings: ReadSettings = { target: port, level: defaults.level, maxLagMs: null }
  let token = ''
  for (const [name, value] of own) {
    switch (name) {
      case 'understudy.target': {
        const target = parseTarget(value)
        if (target.kind === 'failed') return target.error
        settings = { ...settings, target: target.value }
        break
      }
      case 'understudy.level': {
        const level = parseLevel(value)
        if (level.kind === 'failed') return level.error
        settings = { ...settings, level: level.value }
        break
      }
      case 'understudy.max_lag': {
        const maxLag = parseMaxLag(value)
        if (maxLag.kind === 'failed') return maxLag.error
        settings = { ...settings, maxLagMs: maxLag.value }
        break
      }
      case 'understudy.token': {
        const bound = parseBound(value, null)
        if (bound.kind === 'failed') return bound.error
        token = value
        break
      }
      default:
        return {
          severity: 'ERROR',
          code: '42704',
          message: `unrecognized configuration parameter "${name}"`,
          hint: 'There are understudy.target, understudy.level, understudy.token and understudy.max_lag.',
        }
    }
  }
  return { settings, token }
}
