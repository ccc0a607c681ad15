/**
 * Whether a server can still be given back to the service of before. What has happened since must not be lost by it: another node that has
 * joined, a clone that has taken the place of the data, a standby that has become the primary.
 */
import { lstat, readlink } from 'node:fs/promises'
import path from 'node:path'
import { parseConfig, resolveConfig } from '../../config/load.ts'
import { UnderstudyError } from '../../errors/codes.ts'
import { readTextIfPresent } from '../../postgres/durable.ts'
import { nodeLayout } from '../../postgres/layout.ts'
import { homeLayout } from '../machines/home.ts'
import type { Journal } from './journal.ts'
import { oldPostmaster } from './steps/restart.ts'

export interface Since {
  readonly role: Journal['role']
  /** The agent has started it: before that nothing of this can have happened. */
  readonly restarted: boolean
  /** Of the operator's configuration as it is now. */
  readonly otherNodes: readonly string[]
  /** What `data` in the node's directory is: the link that was made, something else, or nothing (any more, or yet). */
  readonly data: 'link' | 'other' | 'absent'
  readonly hasStandbySignal: boolean
}

/** null: it can. Pure. */
export function whyKept({
  role,
  restarted,
  otherNodes,
  data,
  hasStandbySignal,
}: Since): UnderstudyError | null {
  if (data === 'other')
    return new UnderstudyError(
      'refused',
      'a clone has taken the place of its data since: the directory of before is old',
      {
        hint: 'Give it back as it runs: `understudy release`.',
      },
    )
  if (!restarted) return null
  if (role === 'primary' && otherNodes.length > 0)
    return new UnderstudyError('refused', `${otherNodes.join(', ')} belongs to the cluster, too`, {
      hint: 'Take it out first (`understudy remove NODE`), or give all of them back as they run: `understudy release`.',
    })
  if (role === 'standby' && !hasStandbySignal)
    return new UnderstudyError(
      'refused',
      'it is no standby any more: its service of before would start it beside another primary',
      {
        hint: 'Make another node the primary first (`understudy switchover`), or give all of them back as they run: `understudy release`.',
      },
    )
  return null
}

/** Errors: refused. */
export async function refuseKept(journal: Journal, directory: string): Promise<void> {
  const { configFile } = homeLayout(directory)
  const text = (await readTextIfPresent(configFile)) ?? journal.configText
  const config = resolveConfig(parseConfig(text, configFile), configFile)
  const kept = whyKept({
    role: journal.role,
    restarted: await isRestarted(journal),
    otherNodes: config.nodes.map(({ name }) => name).filter((name) => name !== journal.node),
    data: await dataOf(journal),
    hasStandbySignal: await exists(path.join(journal.server.dataDirectory, 'standby.signal')),
  })
  if (kept !== null) throw kept
}

/**
 * The journal may not say so yet: killed right after the restart, or after a reboot of the machine, it is seen by the configuration that the
 * agent writes for its own start, while the server of before runs no more.
 */
async function isRestarted(journal: Journal): Promise<boolean> {
  const runsAsBefore = (await oldPostmaster({ journal })) !== null
  const { configFile } = nodeLayout(journal.nodeDirectory)
  const restarted = journal.done.includes('restart') || (!runsAsBefore && (await exists(configFile)))
  // A way back that was begun may have stopped a primary already, and goes on; a standby may have become the primary until its agent has ended.
  return restarted && (journal.role === 'primary' ? !journal.undoing : !runsAsBefore)
}

async function dataOf({ nodeDirectory, server }: Journal): Promise<Since['data']> {
  const place = path.join(nodeDirectory, 'data')
  if (!(await exists(place))) return 'absent'
  return (await readlink(place).catch(() => null)) === server.dataDirectory ? 'link' : 'other'
}

async function exists(place: string): Promise<boolean> {
  return lstat(place).then(
    () => true,
    () => false,
  )
}
