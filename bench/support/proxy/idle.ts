/** What clients cost that are connected and do nothing: resident memory of all processes of a proxy. */
import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import { usageOf } from '../cluster-usage.ts'
import { connectTo, type Peer, type PeerName } from './peers.ts'

export interface IdleSample {
  readonly peer: PeerName
  readonly round: number
  readonly clients: number
  readonly beforeMb: number
  readonly withClientsMb: number
}

/** Below the limit of clients that may be in the middle of a login. */
const AT_ONCE = 20
/** What the logins left behind may be collected meanwhile. */
const SETTLE_MS = 3_000

/** Each has asked one thing and been answered. */
export async function measureIdle(peer: Peer, clients: number, round: number): Promise<IdleSample> {
  const beforeMb = usageOf(peer.pids).rssMb
  const connected: pg.Client[] = []
  try {
    while (connected.length < clients) {
      const wanted = Math.min(AT_ONCE, clients - connected.length)
      connected.push(...(await Promise.all(Array.from({ length: wanted }, () => connectTo(peer)))))
    }
    await sleep(SETTLE_MS)
    return { peer: peer.name, round, clients, beforeMb, withClientsMb: usageOf(peer.pids).rssMb }
  } finally {
    await Promise.all(connected.map((client) => client.end().catch(() => {})))
  }
}
