/** What one of several workers may have of what the proxy may have, and which size and mode a pool has. Pure. */
import type { PoolMode, ProxySettings } from './settings.ts'

/**
 * Divided: what only one's own count can bound. `maxClients` is not, for the workers tell each other how many they have
 * (worker-team.ts): whoever leaves would else leave a hole at one worker while another one refuses.
 */
export function shareOf(settings: ProxySettings, worker: number, workers: number): ProxySettings {
  if (workers === 1) return settings
  const part = (whole: number): number => partOf(whole, worker, workers)
  return {
    ...settings,
    defaultPoolSize: part(settings.defaultPoolSize),
    pools: settings.pools.map((rule) =>
      rule.size === undefined ? rule : { ...rule, size: part(rule.size) },
    ),
    maxLogins: part(settings.maxLogins),
    maxWaiting: part(settings.maxWaiting),
    maxWaitingBytes: part(settings.maxWaitingBytes),
  }
}

/** Parts of all workers make the whole, unless it is smaller than their number: nobody can serve with nothing. */
export function partOf(whole: number, worker: number, workers: number): number {
  return Math.max(1, Math.floor(whole / workers) + (worker < whole % workers ? 1 : 0))
}

interface PoolOwner {
  readonly database: string
  readonly user: string
}

export function poolSizeOf(
  { pools, defaultPoolSize }: Pick<ProxySettings, 'pools' | 'defaultPoolSize'>,
  owner: PoolOwner,
): number {
  return pools.find((rule) => rule.size !== undefined && fits(rule, owner))?.size ?? defaultPoolSize
}

export function poolModeOf(
  { pools, poolMode }: Pick<ProxySettings, 'pools' | 'poolMode'>,
  owner: PoolOwner,
): PoolMode {
  return pools.find((rule) => rule.mode !== undefined && fits(rule, owner))?.mode ?? poolMode
}

function fits(rule: ProxySettings['pools'][number], owner: PoolOwner): boolean {
  return (
    (rule.database === undefined || rule.database === owner.database) &&
    (rule.user === undefined || rule.user === owner.user)
  )
}
