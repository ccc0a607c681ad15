/** Goes through the steps, from where an earlier run was interrupted; and back. */
import { chown, readFile, rm } from 'node:fs/promises'
import path from 'node:path'
import { nodeOf, parseConfig, resolveConfig } from '../../config/load.ts'
import { UnderstudyError } from '../../errors/codes.ts'
import type { Store } from '../../ports/store.ts'
import { restoredAutoConf } from '../../postgres/auto-conf.ts'
import { readTextIfPresent, writeFileAtomic } from '../../postgres/durable.ts'
import { createClusterStore } from '../../store/cluster-store.ts'
import { clusterKeys } from '../../store/keys.ts'
import { composeStore } from '../compose.ts'
import { type HomeLayout, homeLayout } from '../machines/home.ts'
import type { Target } from './connect.ts'
import { type Journal, journalFile, writeJournal } from './journal.ts'
import { endOurPostmaster, startOldServer } from './old-server.ts'
import { refuseKept } from './others.ts'
import { agentStep } from './steps/agent.ts'
import { bundleStep } from './steps/bundle.ts'
import { guardStep } from './steps/guard.ts'
import { homeStep } from './steps/home.ts'
import { nodeStep } from './steps/node.ts'
import { oldPostmaster, restartStep } from './steps/restart.ts'
import { rolesStep } from './steps/roles.ts'
import type { Step, StepContext } from './steps/step.ts'
import { unitsStep } from './steps/units.ts'

/** Nothing before `restart` is felt by a client; what could fail in it is found by then. */
export const STEPS: readonly Step[] = [
  homeStep,
  bundleStep,
  rolesStep,
  nodeStep,
  unitsStep,
  guardStep,
  agentStep,
  restartStep,
]

/** A standby has its bundle and the roles of its primary already. */
export const JOIN_STEPS: readonly Step[] = [nodeStep, unitsStep, guardStep, agentStep, restartStep]

function stepsOf({ role }: Journal): readonly Step[] {
  return role === 'primary' ? STEPS : JOIN_STEPS
}

/** Of those, what an interrupted run has left to do. */
export function stepsLeft(journal: Journal): readonly string[] {
  return stepsOf(journal)
    .map(({ id }) => id)
    .filter((id) => !journal.done.includes(id))
}

export interface CarryOptions {
  readonly directory: string
  readonly target: Target
  readonly say: (line: string) => void
}

function contextOf(journal: Journal, { directory, target, say }: CarryOptions): StepContext {
  const layout: HomeLayout = homeLayout(directory)
  const config = resolveConfig(parseConfig(journal.configText, layout.configFile), layout.configFile)
  return { journal, layout, config, node: nodeOf(config, journal.node), target, say }
}

/** Each step is durable before the next one begins. */
export async function carryOut(begun: Journal, options: CarryOptions): Promise<Journal> {
  let journal = begun
  for (const step of stepsOf(begun)) {
    if (journal.done.includes(step.id)) continue
    const context = contextOf(journal, options)
    options.say(step.title(context))
    await step.carryOut(context)
    journal = await writeJournal(options.directory, { ...journal, done: [...journal.done, step.id] })
  }
  if (journal.completedAt !== null) return journal
  return writeJournal(options.directory, { ...journal, completedAt: new Date().toISOString() })
}

/**
 * Back to the server of before. The agent ends first, and with it whatever it has started; then the old service may start again, and does, if
 * nothing runs; what was made goes last, so that each of these can be done again.
 */
export async function undo(begun: Journal, options: CarryOptions): Promise<void> {
  const journal = await writeJournal(options.directory, { ...begun, undoing: true })
  const context = contextOf(journal, options)
  await restartStep.undo(context)
  await agentStep.undo(context)
  options.say(`the agent of ${journal.node} has ended`)
  if ((await oldPostmaster(context)) === null) {
    await endOurPostmaster(journal)
    // Again, now that nothing can change any more: a standby that was promoted meanwhile would start as a second primary.
    await refuseKept(journal, options.directory)
    await restoreAutoConf(journal)
  }
  await guardStep.undo(context)
  if ((await oldPostmaster(context)) === null) {
    await startOldServer(journal)
    options.say('the server of before runs again')
  }
  if (journal.role === 'primary') {
    await rolesStep.undo(context)
    options.say('the roles of understudy are dropped')
    await forgetCluster(context)
  }
  await unitsStep.undo(context)
  if (journal.role === 'primary') await bundleStep.undo(context)
  await nodeStep.undo(context)
  if (journal.role === 'primary') await homeStep.undo(context)
  await rm(journalFile(options.directory), { force: true })
}

/** What the agent has commented out there counts again. */
async function restoreAutoConf({ server }: Journal): Promise<void> {
  const file = path.join(server.dataDirectory, 'postgresql.auto.conf')
  const now = await readTextIfPresent(file)
  const text = now === null ? server.autoConf : restoredAutoConf(now, server.autoConf)
  if (now === text) return
  await writeFileAtomic(file, text, { durable: true })
  await chown(file, server.owner.uid, server.owner.gid)
}

/**
 * The store keeps nothing of it. Another cluster that has got the name
 * meanwhile is not forgotten.
 */
async function forgetCluster({ journal, layout, say }: StepContext): Promise<void> {
  const file = path.join(journal.bundleDirectory, 'understudy.yaml')
  const text = await readFile(file, 'utf8').catch(() => null)
  if (text === null) return
  const config = resolveConfig(parseConfig(text, file), file)
  const { all } = clusterKeys(journal.cluster)
  try {
    const store = await composeStore(config, STORE_ANSWER_MS)
    try {
      await deleteOwn(store, journal, say)
    } finally {
      store.close()
    }
  } catch (error) {
    if (!(error instanceof UnderstudyError) && !isMissing(error)) throw error
    say(`the store could not be reached from ${layout.directory}: etcdctl del --prefix ${all}`)
  }
}

/** What cannot be read is not taken for its own. */
async function deleteOwn(store: Store, { cluster, server }: Journal, say: StepContext['say']): Promise<void> {
  const { all } = clusterKeys(cluster)
  const facts = await createClusterStore(store, cluster).readFacts()
  const known = facts.kind === 'ok' ? facts.value.identity?.systemIdentifier : undefined
  if (known !== undefined && known !== server.systemIdentifier) {
    say(`the store keeps ${cluster}: it is another cluster, with the system identifier ${known}`)
    return
  }
  const gone =
    facts.kind === 'ok'
      ? await store.transact({ compare: [], success: [{ op: 'deletePrefix', prefix: all }] })
      : facts
  if (gone.kind !== 'ok')
    say(`the store keeps what it knows of ${cluster} (${gone.reason}): etcdctl del --prefix ${all}`)
}

const STORE_ANSWER_MS = 5_000

function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT'
}
