/** `understudy agent`: one node in the foreground, for `up`, systemd and the like. SIGTERM stops PostgreSQL in order, then the agent. */
import { stat } from 'node:fs/promises'
import { loadConfig, nodeOf, type ResolvedConfig, type ResolvedNode } from '../../config/load.ts'
import { UnderstudyError } from '../../errors/codes.ts'
import { findUser } from '../../postgres/run-as.ts'
import { AgentProcess } from '../agent-process.ts'
import { isRoot, runAs } from '../local/privileges.ts'
import { nodeMeant, readBundleMark } from '../machines/placement.ts'
import { applyStaged } from '../machines/receive.ts'
import { EXIT } from '../output.ts'

export interface AgentFlags {
  readonly config: string
  /** Left out: the node of the bundle that the configuration lies in. */
  readonly node?: string
}

export async function run(flags: AgentFlags): Promise<number> {
  if (!isRoot()) await applyStaged(flags.config)
  const config = await loadConfig(flags.config)
  const mark = await readBundleMark(config.file)
  const node = nodeOf(config, nodeMeant(mark, flags.node))
  if (isRoot()) return runAsOwner(config, node)
  const agent = await AgentProcess.open(config, node)
  agent.stopOnSignals((error) => {
    process.stderr.write(`${String(error)}\n`)
    process.exit(EXIT.failed)
  })
  await agent.run()
  return EXIT.done
}

/** The configuration's owner is who the cluster was made for. */
async function runAsOwner(config: ResolvedConfig, node: ResolvedNode): Promise<number> {
  const { uid } = await stat(config.file)
  const user = uid === 0 ? await findUser('postgres') : await findUser(uid)
  if (user === null || user.uid === 0) {
    throw new UnderstudyError(
      'no-unprivileged-user',
      `${config.file} belongs to root, and there is no user postgres`,
    )
  }
  return runAs(user, ['agent', '--config', config.file, '--node', node.name], config.file)
}
