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
}

/** Looks from now on until the function returned is called. */
export function startUpkeep(options: UpkeepOptions): () => void {
  let timer: NodeJS.Timeout | undefined
  let stopped = false
  const next = (): void => {
    if (stopped) return
    timer = setTimeout(() => void look(options).then(next, next), EVERY_MS)
    timer.unref()
  }
  void look(options).then(next, next)
  return () => {
    stopped = true
    clearTimeout(timer)
  }
}

async function look({ nodes, addresses, access, api, readTls, events, log }: UpkeepOptions): Promise<void> {
  await addresses.refresh(nodes)
  const looked = await access.look()
  if (looked.kind === 'failed') {
    log.warn('access could not be brought up to date', { reason: looked.reason })
    return
  }
  for (const change of looked.value)
    events.add({ kind: 'access-changed', message: `${WORDS[change]}: PostgreSQL was told` })
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
