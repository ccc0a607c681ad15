/** `understudy reinit NODE`: the standby's data directory is moved aside and cloned anew from the primary. */
import { nodeOf } from '../../config/load.ts'
import { confirm } from '../confirm.ts'
import { command } from '../control-client.ts'
import type { ClusterFlags } from '../flags.ts'
import { openCluster } from '../local/open.ts'
import { EXIT, note, print, printJson } from '../output.ts'

export interface ReinitOptions extends ClusterFlags {
  readonly node: string
  readonly yes?: true
  readonly json?: true
}

export async function run(options: ReinitOptions): Promise<number> {
  const { config } = await openCluster(options)
  const node = nodeOf(config, options.node)
  const question = `Move the data of ${node.name} aside and clone it anew?`
  if (!(await confirm(question, options.yes === true))) {
    note('nothing was changed')
    return EXIT.failed
  }
  await command(config, node, '/v1/reinit', {})
  if (options.json) printJson({ node: node.name, reinit: true })
  else print(`${node.name} is made anew; \`understudy status --watch\` shows it.`)
  return EXIT.done
}
