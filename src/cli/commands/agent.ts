/** `understudy agent`: one node in the foreground, for `up`, systemd and the like. SIGTERM stops PostgreSQL in order, then the agent. */
import { loadConfig, nodeOf } from '../../config/load.ts'
import { UnderstudyError } from '../../errors/codes.ts'
import { AgentProcess } from '../agent-process.ts'
import { isRoot, runAsOwnerOf } from '../local/privileges.ts'
import { nodeMeant, readBundleMark } from '../machines/placement.ts'
import { applyStaged } from '../machines/receive.ts'
import { EXIT } from '../output.ts'

export interface AgentFlags {
  readonly config: string
  /** Left out: the node of the bundle that the configuration lies in. */
  readonly node?: string
  /** Nothing is run; what an agent would do is printed. */
  readonly explain?: true
  readonly json?: true
}

export async function run(flags: AgentFlags): Promise<number> {
  if (flags.explain === true) {
    // Not at the top: an agent's process holds nothing that it does not need.
    const { explainAgent } = await import('../by-hand/explain.ts')
    return explainAgent({ ...flags, json: flags.json === true })
  }
  if (flags.json === true)
    throw new UnderstudyError('usage', 'an agent prints a log and no result', {
      hint: '--json goes with --explain.',
    })
  if (!isRoot()) await applyStaged(flags.config)
  const config = await loadConfig(flags.config)
  const mark = await readBundleMark(config.file)
  const node = nodeOf(config, nodeMeant(mark, flags.node))
  if (isRoot()) return runAsOwnerOf(config.file, ['agent', '--config', config.file, '--node', node.name])
  const agent = await AgentProcess.open(config, node)
  agent.stopOnSignals((error) => {
    process.stderr.write(`${String(error)}\n`)
    process.exit(EXIT.failed)
  })
  await agent.run()
  return EXIT.done
}
