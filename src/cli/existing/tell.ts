/** The plan of taking a server over, for a person and as JSON. */

import { UnderstudyError } from '../../errors/codes.ts'
import { colourFor, failureText, note, print, printJson } from '../output.ts'
import { paintFor } from '../paint.ts'
import type { ExistingPlan } from './begin.ts'
import { stepsLeft } from './carry-out.ts'
import type { Journal } from './journal.ts'

export function planJson(plan: ExistingPlan): Readonly<Record<string, unknown>> {
  const { server, machine, journal } = plan
  return {
    cluster: journal.cluster,
    node: journal.node,
    server: {
      version: server.version,
      systemIdentifier: server.systemIdentifier,
      dataDirectory: machine.dataDirectory,
      manager: machine.manager.kind,
      postmasterPid: machine.postmaster?.pid ?? null,
    },
    possible: plan.refusals.length === 0,
    refusals: plan.refusals,
    warnings: plan.warnings,
    restarts: 1,
    changes: plan.changes,
    settings: plan.settings,
    setAside: plan.setAside,
    kept: plan.kept,
    nodeDirectory: journal.nodeDirectory,
    bundleDirectory: journal.bundleDirectory,
    config: journal.configText,
  }
}

export function tellPlan(plan: ExistingPlan): void {
  const { server, machine, journal } = plan
  const paint = paintFor(colourFor(process.stdout))
  const manager =
    machine.manager.kind === 'debian'
      ? `Debian's ${machine.manager.version}/${machine.manager.name}`
      : 'a server of its own'
  print([
    `PostgreSQL ${server.version}, ${manager}, data in ${machine.dataDirectory}: becomes ${journal.node}, the primary of ${journal.cluster}.`,
    '',
    'What is done, in this order:',
    ...plan.changes.flatMap(({ what, why, undo, needsRestart }, index) => [
      `  ${index + 1}. ${what}${needsRestart ? paint('yellow', '  (the one restart)') : ''}`,
      `     why: ${why}`,
      `     undo: ${undo}`,
    ]),
    '',
    `What stays: the data, every role and database, ${plan.kept.parameters} parameters, ${plan.kept.hba} lines of pg_hba.conf, the port, the addresses and the socket.`,
    ...settingLines(plan),
    ...asideLines(plan),
    ...(plan.warnings.length === 0 ? [] : ['', 'Mind:', ...plan.warnings.map((line) => `  - ${line}`)]),
    '',
    '`understudy init --undo` goes back, from anywhere between these steps and after them, until another node has joined.',
  ])
}

function settingLines({ settings }: ExistingPlan): readonly string[] {
  if (settings.length === 0) return []
  return [
    '',
    'Settings that are others after the restart:',
    ...settings.map(
      ({ name, from, to, why }) => `  ${name} = ${to}${from === '' ? '' : ` (was ${from})`}: ${why}`,
    ),
    '  Logs go into the node’s directory, and TLS is spoken with a certificate of the cluster’s own authority.',
  ]
}

function asideLines({ setAside }: ExistingPlan): readonly string[] {
  if (setAside.length === 0) return []
  return [
    '',
    'Settings that are left out:',
    ...setAside.map(
      ({ name, value, reason, where }) =>
        `  ${name}${value === '' ? '' : ` = ${value}`} (${where}): ${reason}`,
    ),
  ]
}

export function tellRefusals({ refusals }: Pick<ExistingPlan, 'refusals'>): void {
  const paint = paintFor(colourFor(process.stderr))
  for (const { code, message, hint } of refusals)
    note(failureText(new UnderstudyError(code, message, { hint }), paint))
}

/** --dry-run of what an interrupted run has begun. */
export function tellBegun(journal: Journal, { json }: { readonly json?: true }): void {
  const { startedAt, done } = journal
  const left = stepsLeft(journal)
  if (json === true) printJson({ begun: startedAt, done, left })
  else
    print(`Begun ${startedAt}. Done: ${done.join(', ') || 'nothing'}. Left: ${left.join(', ') || 'nothing'}.`)
}
