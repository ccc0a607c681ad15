/** pgbench against every peer in turns, round after round: what changes on the machine meanwhile meets all of them. */
import { usageOf } from '../cluster-usage.ts'
import type { Peer, PeerName } from './peers.ts'
import { loginSeconds, type Mode, type Pgbench, percentile } from './pgbench.ts'

export interface Cell {
  readonly section: string
  readonly script: 'select-only' | 'tpcb-like'
  readonly mode: Mode
  readonly clients: number
  readonly latencies: boolean
}

export interface Sample {
  readonly section: string
  readonly clients: number
  readonly round: number
  readonly peer: PeerName
  readonly tps: number
  readonly meanMs: number
  /** NaN where the transactions were not kept. */
  readonly p99Ms: number
  /** Processor time of the peer itself for one transaction, logins included; NaN for the server alone. */
  readonly cpuMicroseconds: number
}

const SCRIPTS = {
  simple: { script: 'select-only', mode: 'simple' },
  extended: { script: 'select-only', mode: 'extended' },
  prepared: { script: 'select-only', mode: 'prepared' },
  tpcb: { script: 'tpcb-like', mode: 'simple' },
  'tpcb-extended': { script: 'tpcb-like', mode: 'extended' },
  'tpcb-prepared': { script: 'tpcb-like', mode: 'prepared' },
} as const

export const SPEED_SECTIONS: readonly string[] = [...Object.keys(SCRIPTS), 'latency']

/** Kept to the two where the figures ask for it, because keeping every transaction costs pgbench time. */
const LATENCY_CLIENTS = [1, 100]

export function cellsOf(section: string, clients: readonly number[]): readonly Cell[] {
  const cell = (what: (typeof SCRIPTS)[keyof typeof SCRIPTS], latencies: boolean) => (count: number) => ({
    section,
    ...what,
    clients: count,
    latencies,
  })
  if (section === 'latency') return LATENCY_CLIENTS.map(cell(SCRIPTS.simple, true))
  const what = SCRIPTS[section as keyof typeof SCRIPTS]
  return what === undefined ? [] : clients.map(cell(what, false))
}

/** With its logins. */
export function secondsOf(cell: Cell, seconds: number): number {
  return seconds + loginSeconds(cell.clients) + 0.4
}

export async function measure(
  pgbench: Pgbench,
  peer: Peer,
  cell: Cell,
  options: { readonly seconds: number; readonly round: number },
): Promise<Sample> {
  const { pids } = peer
  const before = usageOf(pids).cpuSeconds
  const { script, mode, clients, latencies, section } = cell
  const result = await pgbench.run(peer.target, {
    script,
    mode,
    clients,
    latencies,
    seconds: options.seconds,
  })
  const cpuSeconds = pids.length === 0 ? Number.NaN : usageOf(pids).cpuSeconds - before
  return {
    ...{ section, clients, round: options.round, peer: peer.name },
    ...{ tps: result.tps, meanMs: result.meanMs, p99Ms: percentile(result.latenciesMs, 0.99) },
    cpuMicroseconds: (1e6 * cpuSeconds) / result.transactions,
  }
}
