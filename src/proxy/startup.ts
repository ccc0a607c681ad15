/** What the parameters of a start-up packet mean for the proxy. Pure. */
import type { Startup } from '../protocol/startup-packet.ts'
import { Parameters, trackedAtStart } from './parameters.ts'

export interface AskedFor {
  readonly user: string
  readonly database: string
  readonly replication: boolean
  /** Follow the client from server to server. */
  readonly tracked: ReadonlyMap<string, string>
  /** Go into the start-up of its servers, which are then for clients with the same ones only. */
  readonly others: ReadonlyMap<string, string>
}

export function readStartup({ parameters }: Startup): AskedFor {
  const tracked = new Map<string, string>()
  const others = new Map<string, string>()
  for (const [name, value] of parameters) {
    const known = trackedAtStart(name)
    if (known !== null) tracked.set(known, value)
    else if (name !== 'user' && name !== 'database' && name !== 'replication') others.set(name, value)
  }
  const user = parameters.get('user') ?? ''
  return {
    user,
    database: parameters.get('database') || user,
    replication: asksReplication(parameters.get('replication')),
    tracked,
    others,
  }
}

/** As PostgreSQL reads it: a boolean in any spelling, or `database`. */
function asksReplication(value: string | undefined): boolean {
  if (value === undefined) return false
  const word = value.trim().toLowerCase()
  return word !== '' && !['false', 'fals', 'fal', 'fa', 'f', 'off', 'of', 'no', 'n', '0'].includes(word)
}

/** The greeting's parameters: the server's, with what the client asked for as the server would write it. */
export function sessionParameters(welcome: Parameters, tracked: ReadonlyMap<string, string>): Parameters {
  const parameters = new Parameters(welcome.entries())
  for (const [name, value] of tracked) parameters.set(name, asReported(name, value, welcome.get(name) ?? ''))
  return parameters
}

/** A guess where the spelling is known; a wrong one is corrected when the setting reaches a server. */
function asReported(name: string, value: string, usual: string): string {
  if (name === 'client_encoding' && /^(?:utf-?8|unicode)$/i.test(value)) return 'UTF8'
  const order = /,\s*(\w+)$/.exec(usual)?.[1]
  if (name === 'DateStyle' && /^iso$/i.test(value) && order !== undefined) return `ISO, ${order}`
  return value
}
