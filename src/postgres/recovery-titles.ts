/**
 * How far the recovery of a PostgreSQL is that lets nobody in yet. Only the titles of its processes tell: "postgres: alpha: startup recovering
 * 000000010000000000000003" or "waiting for ...", "postgres: alpha: walreceiver streaming 0/3000148" (src/backend/access/transam/xlogrecovery.c,
 * src/backend/replication/walreceiver.c).
 */
import type { RecoveryFacts } from '../core/facts.ts'
import { childrenOf } from './processes.ts'

const STARTUP = / startup (?:recovering|waiting for) ([0-9A-F]{24})/
const STREAMING = / walreceiver streaming /

export async function inspectRecovery(postmasterPid: number): Promise<RecoveryFacts | null> {
  return recoveryOf((await childrenOf(postmasterPid)).map((each) => each.title))
}

export function recoveryOf(titles: readonly string[]): RecoveryFacts | null {
  const segment = titles.map((title) => STARTUP.exec(title)?.[1]).find((each) => each !== undefined)
  return segment === undefined ? null : { segment, streams: titles.some((title) => STREAMING.test(title)) }
}
