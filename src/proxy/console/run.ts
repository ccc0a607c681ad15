/** Carries out a command of the console, at every worker. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { ProxyFleet } from '../../ports/proxy-view.ts'
import type { ErrorText } from '../../protocol/backend-builders.ts'
import { CLIENT_ERRORS } from '../client-errors.ts'
import type { Command, Shown } from './commands.ts'
import type { ConsoleFacts } from './context.ts'
import { ROUTE_COLUMNS, type Table, tableOf } from './tables.ts'

export type Result =
  | { readonly kind: 'table'; readonly table: Table }
  | { readonly kind: 'done'; readonly tag: string; readonly notice: string | null }
  | { readonly kind: 'error'; readonly error: ErrorText }

export interface RunContext {
  readonly fleet: ProxyFleet
  readonly facts: ConsoleFacts
  /** The client does not wait for it any more. */
  readonly cancelled: AbortSignal
}

const PAUSE_LOOK_MS = 50

export async function runCommand(command: Command, context: RunContext): Promise<Result> {
  const { fleet, facts } = context
  switch (command.kind) {
    case 'show':
      return { kind: 'table', table: await show(command.what, context) }
    case 'route': {
      const rows = facts.explainRoute(command.sql).map(({ port, target, reason }) => [port, target, reason])
      return { kind: 'table', table: { columns: ROUTE_COLUMNS, rows } }
    }
    case 'pause':
      return pause(command.database, context)
    case 'resume': {
      const answers = await fleet.ask('resume', command)
      if (answers.some(({ was }) => was)) return done('RESUME')
      return failed('55000', 'nothing is paused that could go on', 'SHOW DATABASES names what is paused.')
    }
    case 'reconnect': {
      const servers = (await fleet.ask('reconnect', command)).reduce((all, each) => all + each.servers, 0)
      return done('RECONNECT', `${servers} server connections are replaced as soon as they are released`)
    }
    case 'kill':
      return killed(await fleet.ask('kill', { database: command.database }), 'KILL')
    case 'killClient':
      return killed(await fleet.ask('kill', { client: command.client }), 'KILL_CLIENT')
    case 'reload':
      return reload(fleet)
    default:
      return done(command.tag)
  }
}

function done(tag: string, notice: string | null = null): Result {
  return { kind: 'done', tag, notice }
}

function failed(code: string, message: string, hint: string): Result {
  return { kind: 'error', error: { severity: 'ERROR', code, message, hint } }
}

async function show(what: Shown, { fleet, facts }: RunContext): Promise<Table> {
  const workers = await fleet.ask('look', { sessions: what === 'CLIENTS' || what === 'SERVERS' })
  return tableOf(what, { workers, config: facts.config(), version: facts.version })
}

/** Whoever stops waiting leaves the proxy paused. */
async function pause(database: string | null, { fleet, cancelled }: RunContext): Promise<Result> {
  while (!cancelled.aborted) {
    const left = (await fleet.ask('pause', { database })).reduce((all, each) => all + each.left, 0)
    if (left === 0) return done('PAUSE')
    await sleep(PAUSE_LOOK_MS, undefined, { signal: cancelled }).catch(() => {})
  }
  return { kind: 'error', error: CLIENT_ERRORS.cancelled() }
}

function killed(answers: readonly { readonly clients: number }[], tag: string): Result {
  const clients = answers.reduce((all, each) => all + each.clients, 0)
  if (clients > 0) return done(tag, `${clients} sessions were ended`)
  return failed('42704', 'there is no such session', 'SHOW CLIENTS names them.')
}

async function reload(fleet: ProxyFleet): Promise<Result> {
  const answers = await fleet.ask('reload', {})
  const refused = answers.find((each) => each.kind === 'refused')
  if (refused?.kind === 'refused')
    return failed('F0000', refused.reason, 'What was in force stays: `understudy config validate` says more.')
  const all = (pick: 'changed' | 'needsRestart'): readonly string[] => [
    ...new Set(answers.flatMap((each) => (each.kind === 'done' ? each[pick] : []))),
  ]
  const [changed, needsRestart] = [all('changed'), all('needsRestart')]
  const words = [
    changed.length === 0 ? 'nothing has changed' : `taken over: ${changed.join(', ')}`,
    ...(needsRestart.length === 0 ? [] : [`counts when it is started again: ${needsRestart.join(', ')}`]),
  ]
  return done('RELOAD', words.join('; '))
}
