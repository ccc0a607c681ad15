/** What an agent's surroundings change while it runs: host names that mean other addresses, certificates that were renewed. */
import type { EventLog } from '../../agent/events.ts'
import type { ApiTls, RunningApi } from '../../api/server.ts'
import type { ResolvedNode } from '../../config/load.ts'
import type { Log } from '../../ports/log.ts'
import type { AccessChange, AccessUpdater } from '../../postgres/access.ts'
import type { HostAddresses } from './addresses.ts'

export interface UpkeepOptions {
  readonly nodes: readonly ResolvedNode[]
  readonly addresses: HostAddresses
  readonly access: AccessUpdater
  readonly api: RunningApi
  /** The certificate and key as they lie there now; null: the API speaks no TLS. */
  readonly readTls: () => Promise<ApiTls | null>
  readonly events: EventLog
  readonly log: Log
}

const EVERY_MS = 10_000

const WORDS: Readonly<Record<AccessChange, string>> = {
  hba: 'the addresses of the members have changed',
  certificate: 'the certificate was renewed',
  password: 'the password of replication has changed',
}

export interface Upkeep {
  /** At once, beside whatever is under way. */
  look(): void
  stop(): void
}

/** Looks from now on, every few seconds. */
export function startUpkeep(options: UpkeepOptions): Upkeep {
  let timer: NodeJS.Timeout | undefined
  let stopped = false
  const next = (): void => {
    if (stopped) return
    clearTimeout(timer)
    timer = setTimeout(look, EVERY_MS)
    timer.unref()
  }
  const look = (): void => {
    clearTimeout(timer)
    void lookOnce(options).then(next, next)
  }
  look()
  return {
    look,
    stop: () => {
      stopped = true
      clearTimeout(timer)
    },
  }
}

async function lookOnce({
  nodes,
  addresses,
  access,
  api,
  readTls,
  events,
  log,
}: UpkeepOptions): Promise<void> {
  await addresses.refresh(nodes)
  const looked = await access.look()
  if (looked.kind === 'failed') {
    log.warn('access could not be brought up to date', { reason: looked.reason })
    return
  }
  for (const change of looked.value)
    events.add({ kind: 'access-changed', message: `${WORDS[change]}: PostgreSQL knows` })
  if (!looked.value.includes('certificate')) return
  // Half of a renewal does not fit together; the next look sees the whole of it as another change.
  const tls = await readTls()
  if (tls === null) return
  try {
    api.renew(tls)
  } catch (error) {
    log.warn('the renewed certificate cannot be used', { reason: String(error) })
  }
}
