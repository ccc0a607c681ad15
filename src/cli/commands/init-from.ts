/**
 * `understudy init --from URL`: a cluster that begins with a server that runs already, on its machine. First the plan; then its steps, each
 * durable before the next, so that a run which was interrupted is finished by the same command or undone by `init --undo`.
 */
import path from 'node:path'
import { UnderstudyError } from '../../errors/codes.ts'
import { confirm } from '../confirm.ts'
import { type ExistingPlan, planExisting } from '../existing/begin.ts'
import { carryOut, undo } from '../existing/carry-out.ts'
import { readTarget, type Target } from '../existing/connect.ts'
import { type Journal, readJournal, writeJournal } from '../existing/journal.ts'
import { refuseKept } from '../existing/others.ts'
import { planJson, tellBegun, tellPlan, tellRefusals } from '../existing/tell.ts'
import { type InitOptions, readGiven } from '../machines/given.ts'
import { refuseForeignHome } from '../machines/home.ts'
import { EXIT, note, print, printJson } from '../output.ts'

export interface FromOptions extends InitOptions {
  readonly from: string
}

const BUNDLE_DIRECTORY = '/etc/understudy'

export async function run(options: FromOptions): Promise<number> {
  refuseUnfit(options)
  const directory = directoryOf(options)
  await refuseForeignHome(directory)
  const target = readTarget(options.from)
  const begun = await readJournal(directory)
  if (begun !== null) return goOn(begun, directory, target, options)
  const given = await readGiven(options)
  const plan = await planExisting({
    ...options,
    directory,
    target,
    node: options.node,
    bundleDirectory: path.resolve(options.bundleDirectory ?? BUNDLE_DIRECTORY),
    owner: options.owner,
    endArchiving: options.endArchiving === true,
    given,
    storeFiles: {
      ca: given.has('ca.crt'),
      certificate: given.has('client.crt'),
      password: given.has('password'),
    },
  })
  if (options.dryRun === true || plan.refusals.length > 0) return tell(plan, options)
  if (options.json !== true) tellPlan(plan)
  const question = `Take over ${plan.machine.dataDirectory} now, with one restart?`
  if (!(await confirm(question, options.yes === true))) {
    note('nothing was changed')
    return EXIT.failed
  }
  return finish(await writeJournal(directory, plan.journal), directory, target, options)
}

/** Back to the server of before. Nothing but the directory has to be said; --from only where a password is needed. */
export async function runUndo(options: InitOptions): Promise<number> {
  const directory = directoryOf(options)
  const journal = await readJournal(directory)
  if (journal === null)
    throw new UnderstudyError('not-found', `nothing was begun in ${directory}`, {
      hint: 'Name the directory in which `understudy init --from` has written: --dir DIR.',
    })
  const target = options.from === undefined ? withPassword(journal.target) : readTarget(options.from)
  await refuseKept(journal, directory)
  if (options.dryRun === true) {
    tellUndo(journal, options)
    return EXIT.done
  }
  const felt = journal.done.includes('agent')
  const question = `Give ${journal.server.dataDirectory} back to the service of before${felt ? ', with a restart' : ''}?`
  if (!(await confirm(question, options.yes === true))) {
    note('nothing was changed')
    return EXIT.failed
  }
  await undo(journal, { directory, target, say: (line) => sayTo(options, line) })
  if (options.json === true)
    printJson({ undone: true, directory, dataDirectory: journal.server.dataDirectory })
  else
    print(`Everything is as it was before: ${journal.server.dataDirectory} is run by the service of before.`)
  return EXIT.done
}

function directoryOf(options: InitOptions): string {
  return path.resolve(options.dir ?? `understudy-${options.cluster ?? 'main'}`)
}

function withPassword(target: Journal['target']): Target {
  return { ...target, password: process.env['PGPASSWORD'] }
}

/** What the server itself says is not said by flags. */
function refuseUnfit(options: FromOptions): void {
  const [given] = (['pg', 'port'] as const).filter((name) => options[name] !== undefined)
  if (given === undefined) return
  throw new UnderstudyError('usage', `--${given} and --from exclude each other`, {
    hint: 'The server keeps its binaries and its port.',
  })
}

async function goOn(
  journal: Journal,
  directory: string,
  target: Target,
  options: FromOptions,
): Promise<number> {
  if (journal.undoing)
    throw new UnderstudyError('refused', `what was begun in ${directory} is being undone`, {
      hint: 'Complete that with `understudy init --undo`, then begin anew.',
    })
  if (options.dryRun === true) {
    tellBegun(journal, options)
    return EXIT.done
  }
  if (options.json !== true) note(`goes on with what was begun ${journal.startedAt}`)
  return finish(journal, directory, target, options)
}

async function finish(
  journal: Journal,
  directory: string,
  target: Target,
  options: FromOptions,
): Promise<number> {
  const done = await carryOut(journal, { directory, target, say: (line) => sayTo(options, line) })
  tellDone(done, directory, options)
  return EXIT.done
}

function sayTo({ json }: InitOptions, line: string): void {
  if (json !== true) note(`· ${line}`)
}

function tell(plan: ExistingPlan, { json, dryRun }: FromOptions): number {
  if (json === true) printJson({ ...planJson(plan), changed: false })
  else {
    if (dryRun === true) tellPlan(plan)
    tellRefusals(plan)
    note(
      plan.refusals.length > 0
        ? 'It cannot be taken over like this. Nothing was changed.'
        : 'Nothing was changed.',
    )
  }
  return plan.refusals.length > 0 ? EXIT.failed : EXIT.done
}

function tellUndo(journal: Journal, { json }: InitOptions): void {
  const { server, nodeDirectory, bundleDirectory } = journal
  if (json === true) {
    printJson({ done: journal.done, undone: false, dataDirectory: server.dataDirectory })
    return
  }
  print([
    'Would be done:',
    '  end the agent, and with it the PostgreSQL that it has started',
    `  let the service of before start it again (${server.startFile}), and start it`,
    '  drop the roles of understudy',
    `  remove ${nodeDirectory} (the data is not in it), ${bundleDirectory}, and what the store knows`,
  ])
}

function tellDone(journal: Journal, directory: string, { json }: InitOptions): void {
  const { node, cluster, bundleDirectory, server, startedAt, completedAt } = journal
  if (json === true) {
    printJson({
      cluster,
      node,
      directory,
      bundleDirectory,
      dataDirectory: server.dataDirectory,
      startedAt,
      completedAt,
      changed: true,
    })
    return
  }
  const config = path.join(bundleDirectory, 'understudy.yaml')
  print([
    `${node} is the primary of ${cluster}, with the data where it was, in ${server.dataDirectory}.`,
    '',
    `  understudy status --config ${config}`,
    `  understudy add bravo=HOST --dir ${directory}      a standby; one that streams already goes on with \`understudy join\` on its machine`,
    `  understudy init --undo --dir ${directory}         back to the service of before, until another node has joined`,
  ])
}
