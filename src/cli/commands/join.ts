/**
 * `understudy join --from URL`: on the machine of a standby that streams already, with its bundle unpacked: it becomes that node without a new
 * clone. Interrupted, it is finished by the same command, or undone by `--undo`.
 */
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { loadConfig } from '../../config/load.ts'
import { UnderstudyError } from '../../errors/codes.ts'
import { confirm } from '../confirm.ts'
import { carryOut, undo } from '../existing/carry-out.ts'
import { readTarget, type Target } from '../existing/connect.ts'
import { type JoinPlan, planJoin } from '../existing/join.ts'
import { type Journal, readJournal, writeJournal } from '../existing/journal.ts'
import { refuseKept } from '../existing/others.ts'
import { tellBegun, tellRefusals } from '../existing/tell.ts'
import { nodeMeant, readBundleMark } from '../machines/placement.ts'
import { EXIT, note, print, printJson } from '../output.ts'

export interface JoinFlags {
  readonly from?: string
  readonly config: string
  readonly node?: string
  readonly undo?: true
  readonly dryRun?: true
  readonly yes?: true
  readonly json?: true
}

export async function run(options: JoinFlags): Promise<number> {
  const config = await loadConfig(options.config)
  const directory = path.dirname(config.file)
  const begun = await readJournal(directory)
  if (options.undo === true) return goBack(begun, directory, options)
  if (options.from === undefined)
    throw new UnderstudyError('usage', 'which server shall join?', {
      hint: 'Say --from postgresql:///postgres.',
    })
  const target = readTarget(options.from)
  if (begun?.undoing === true)
    throw new UnderstudyError('refused', 'what was begun here is being undone', {
      hint: 'Complete that with `understudy join --undo`, then begin anew.',
    })
  if (begun !== null && options.dryRun === true) {
    tellBegun(begun, options)
    return EXIT.done
  }
  if (begun !== null) return finish(begun, directory, target, options)
  const node = nodeMeant(await readBundleMark(config.file), options.node)
  const plan = await planJoin({ config, configText: await readFile(config.file, 'utf8'), node, target })
  if (options.dryRun === true || plan.refusals.length > 0) return tell(plan, options)
  if (options.json !== true) tellPlan(plan)
  const question = `Let ${plan.machine.dataDirectory} become ${node} of ${config.cluster} now, with one restart of this standby?`
  if (!(await confirm(question, options.yes === true))) {
    note('nothing was changed')
    return EXIT.failed
  }
  return finish(await writeJournal(directory, plan.journal), directory, target, options)
}

async function finish(
  journal: Journal,
  directory: string,
  target: Target,
  options: JoinFlags,
): Promise<number> {
  const done = await carryOut(journal, { directory, target, say: (line) => sayTo(options, line) })
  const { node, cluster, server } = done
  if (options.json === true) printJson({ cluster, node, dataDirectory: server.dataDirectory, changed: true })
  else
    print(
      `${node} streams as a standby of ${cluster}, with the data where it was, in ${server.dataDirectory}.`,
    )
  return EXIT.done
}

async function goBack(journal: Journal | null, directory: string, options: JoinFlags): Promise<number> {
  if (journal === null)
    throw new UnderstudyError('not-found', `nothing was begun in ${directory}`, {
      hint: 'Name the configuration of the bundle with which it was begun: --config FILE.',
    })
  const target =
    options.from === undefined
      ? { ...journal.target, password: process.env['PGPASSWORD'] }
      : readTarget(options.from)
  await refuseKept(journal, directory)
  if (options.dryRun === true) {
    note(`${journal.server.dataDirectory} would be given back to the service of before. Nothing was changed.`)
    return EXIT.done
  }
  if (!(await confirm(`Give ${journal.server.dataDirectory} back, with a restart?`, options.yes === true))) {
    note('nothing was changed')
    return EXIT.failed
  }
  await undo(journal, { directory, target, say: (line) => sayTo(options, line) })
  if (options.json === true) printJson({ undone: true, dataDirectory: journal.server.dataDirectory })
  else
    print([
      `${journal.server.dataDirectory} is run by the service of before. Its slot and access are the cluster’s until`,
      `\`understudy remove ${journal.node}\` takes them away.`,
    ])
  return EXIT.done
}

function sayTo({ json }: JoinFlags, line: string): void {
  if (json !== true) note(`· ${line}`)
}

function tellPlan({ server, machine, journal, warnings, upstream }: JoinPlan): void {
  print([
    `PostgreSQL ${server.version}, a standby at ${upstream.lsn} on timeline ${upstream.timelineId}, data in ${machine.dataDirectory}: becomes ${journal.node} of ${journal.cluster}.`,
    '',
    'What is done, in this order:',
    `  1. make ${journal.nodeDirectory}, with a link to ${machine.dataDirectory}`,
    `  2. enable the unit of ${journal.node}, where systemd runs`,
    `  3. ${machine.manager.kind === 'debian' ? `write \`disabled\` into ${machine.startFile}` : `rename ${machine.startFile}`}, so that its old service does not start it`,
    `  4. start the agent of ${journal.node}, which waits`,
    '  5. stop the standby and start it again, by the agent, with the cluster’s configuration and a slot of its own  (the one restart)',
    ...(warnings.length === 0 ? [] : ['', 'Mind:', ...warnings.map((line) => `  - ${line}`)]),
    '',
    '`understudy join --undo` goes back.',
  ])
}

function tell(plan: JoinPlan, { json, dryRun }: JoinFlags): number {
  const { journal, refusals, warnings, machine, upstream } = plan
  const code = refusals.length > 0 ? EXIT.failed : EXIT.done
  if (json === true) {
    const { cluster, node } = journal
    printJson({
      cluster,
      node,
      dataDirectory: machine.dataDirectory,
      upstream,
      possible: code === 0,
      refusals,
      warnings,
      changed: false,
    })
    return code
  }
  if (dryRun === true) tellPlan(plan)
  tellRefusals(plan)
  note('Nothing was changed.')
  return code
}
