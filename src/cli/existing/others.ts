/** Whether other nodes hang on a server that is to be given back. */
import { parseConfig, resolveConfig } from '../../config/load.ts'
import { UnderstudyError } from '../../errors/codes.ts'
import { readTextIfPresent } from '../../postgres/durable.ts'
import { askCluster } from '../api-client.ts'
import { homeLayout } from '../machines/home.ts'
import type { Journal } from './journal.ts'

/** Errors: refused. */
export async function refuseOthers(journal: Journal, directory: string): Promise<void> {
  const { configFile } = homeLayout(directory)
  const text = (await readTextIfPresent(configFile)) ?? journal.configText
  const config = resolveConfig(parseConfig(text, configFile), configFile)
  if (!journal.done.includes('restart') || config.nodes.length < 2) return
  const status = await askCluster(config.nodes)
  const others =
    status?.nodes.filter(({ name, timelineId }) => name !== journal.node && timelineId !== null) ?? []
  if (others.length === 0) return
  throw new UnderstudyError(
    'refused',
    `${others.map(({ name }) => name).join(', ')} has joined the cluster`,
    {
      hint: 'Remove it first (`understudy remove NODE`), or give all of them back as they run: `understudy release`.',
    },
  )
}
