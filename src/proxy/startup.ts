/** What the parameters of a start-up packet mean for the proxy. Pure. */
import type { Startup } from '../protocol/startup-packet.ts'
import type { Target } from './classify/verdict.ts'
import { Parameters, trackedAtStart } from './parameters.ts'

export interface AskedFor {
  readonly user: string
  readonly database: string
  readonly replication: boolean
  /** Follow the client from server to server. */
  readonly tracked: ReadonlyMap<string, string>
  /** Go into the start-up of its servers, which are then for clients with the same ones only. */
  readonly others: ReadonlyMap<string, string>
  /** Of the proxy's own settings; no server hears of them. */
  readonly own: ReadonlyMap<string, string>
}

export function readStartup({ parameters }: Startup): AskedFor {
  const tracked = new Map<string, string>()
  const others = new Map<string, string>()
  const own = new Map<string, string>()
  for (const [name, value] of parameters) {
    const known = trackedAtStart(name)
    if (known !== null) tracked.set(known, value)
    else if (isOwn(name)) own.set(name.toLowerCase(), value)
    else if (name === 'options') {
      const left = takeOwnOptions(value, own)
      if (left !== '') others.set(name, left)
    } else if (name !== 'user' && name !== 'database' && name !== 'replication') others.set(name, value)
  }
  const user = parameters.get('user') ?? ''
  return {
    user,
    database: parameters.get('database') || user,
    replication: asksReplication(parameters.get('replication')),
    tracked,
    others,
    own,
  }
}

function isOwn(name: string): boolean {
  return name.toLowerCase().startsWith('understudy.')
}

/** A setting in the way of postgres' command line: -c NAME=VALUE or --NAME=VALUE; a backslash keeps white space together. */
const OPTION = /\s*(?:-c\s*|--)((?:\\.|[^\s\\=])+)=((?:\\.|[^\s\\])*)/gs

/** Takes the proxy's own settings out of `options`, as libpq's PGOPTIONS bring them; gives the rest. */
function takeOwnOptions(options: string, own: Map<string, string>): string {
  return options
    .replace(OPTION, (option: string, name: string, value: string) => {
      const setting = name.replaceAll('-', '_')
      if (!isOwn(setting)) return option
      own.set(setting.toLowerCase(), value.replaceAll(/\\(.)/gs, '$1'))
      return ''
    })
    .trim()
}

/** As PostgreSQL reads it: a boolean in any spelling, or `database`. */
function asksReplication(value: string | undefined): boolean {
  if (value === undefined) return false
  const word = value.trim().toLowerCase()
  return word !== '' && !['false', 'fals', 'fal', 'fa', 'f', 'off', 'of', 'no', 'n', '0'].includes(word)
}

/** On a port for reads no server of the session writes, the primary neither. */
export function startupFor(target: Target, others: ReadonlyMap<string, string>): ReadonlyMap<string, string> {
  return target === 'read-only' ? new Map([...others, ['default_transaction_read_only', 'on']]) : others
}

/**
 * The greeting's parameters: the server's, with what the client asked for as the server would write it. What depends on a node's role says
 * what the port promises, whichever node was asked.
 */
export function sessionParameters(
  welcome: Parameters,
  tracked: ReadonlyMap<string, string>,
  target: Target = 'read-write',
): Parameters {
  const parameters = new Parameters(welcome.entries())
  if (welcome.get('in_hot_standby') !== undefined)
    parameters.set('in_hot_standby', target === 'read-only' ? 'on' : 'off')
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
