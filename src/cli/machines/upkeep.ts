/** What an agent's surroundings change while it runs: host names that mean other addresses, certificates that were renewed. */
import type { EventLog } from '../../agent/events.ts'
import type { ApiTls, Listening } from '../../api/listen.ts'
import type { ResolvedNode } from '../../config/load.ts'
import type { Log } from '../../ports/log.ts'
import type { Outcome } from '../../ports/postgres.ts'
import type { AccessChange, AccessUpdater } from '../../postgres/access.ts'
import type { HostAddresses } from './addresses.ts'

export interface UpkeepOptions {
  readonly nodes: readonly ResolvedNode[]
  readonly addresses: HostAddresses
  readonly access: AccessUpdater
  readonly api: Listening
  /** The certificate and key as they lie there now; null: the API speaks no TLS. */
  readonly readTls: () => Promise<ApiTls | null>
  /** The epoch in which this node is the primary and takes writes; null: it is not. */
  readonly primaryEpoch: () => number | null
  /** What a proxy needs in a cluster that is older than it (proxy-access.ts). */
  readonly ensureProxyAccess: () => Promise<Outcome<'present' | 'made'>>
  readonly events: EventLog
  readonly log: Log
}

const EVERY_MS = 10_000
/** A look costs nothing until there is a new epoch. */
const PROXY_ACCESS_EVERY_MS = 1_000

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
  const proxyAccess = new ProxyAccessUpkeep(options)
  const proxyTimer = setInterval(() => void proxyAccess.look(), PROXY_ACCESS_EVERY_MS)
  proxyTimer.unref()
  return {
    look,
    stop: () => {
      stopped = true
      clearInterval(proxyTimer)
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

/** Once in each epoch, and again after a failure. */
class ProxyAccessUpkeep {
  readonly #options: UpkeepOptions
  #doneInEpoch: number | null = null
  #looking = false
  #notBeforeMs = 0

  constructor(options: UpkeepOptions) {
    this.#options = options
  }

  async look(): Promise<void> {
    const { primaryEpoch, ensureProxyAccess, events, log } = this.#options
    const epoch = primaryEpoch()
    if (epoch === null || epoch === this.#doneInEpoch) return
    if (this.#looking || performance.now() < this.#notBeforeMs) return
    this.#looking = true
    try {
      const outcome = await ensureProxyAccess()
      if (outcome.kind === 'ok') {
        this.#doneInEpoch = epoch
        if (outcome.value === 'made')
          events.add({ kind: 'access-changed', message: 'the role and the function of the proxy were made' })
        return
      }
      this.#notBeforeMs = performance.now() + EVERY_MS
      log.warn('the role of the proxy could not be looked after', { reason: outcome.reason })
    } finally {
      this.#looking = false
    }
  }
}
