/** `understudy systemd`: the units of one node, printed, or installed and started. */
import path from 'node:path'
import { loadConfig, nodeOf } from '../../config/load.ts'
import { ownerOf } from '../local/privileges.ts'
import { etcdDirectories, installUnits, unitsOf } from '../machines/install-units.ts'
import { nodeMeant, readBundleMark } from '../machines/placement.ts'
import { UNIT_DIRECTORY } from '../machines/systemctl.ts'
import { EXIT, print, printJson } from '../output.ts'

export interface SystemdOptions {
  readonly config: string
  readonly node?: string
  readonly install?: true
  readonly dryRun?: true
  readonly json?: true
}

export async function run(options: SystemdOptions): Promise<number> {
  const config = await loadConfig(options.config)
  const node = nodeOf(config, nodeMeant(await readBundleMark(config.file), options.node))
  const user = await ownerOf(config.file)
  const directories = [node.directory, ...(await etcdDirectories(config))]
  const units = await unitsOf(config, node, user)
  if (options.install !== true) {
    if (options.json) printJson({ units })
    else print(units.map(({ name, text }) => `# --- ${name}\n${text}`))
    return EXIT.done
  }
  const steps = [
    ...directories.map((directory) => `make ${directory}, owned by ${user.name}`),
    ...units.map(({ name }) => `write ${path.join(UNIT_DIRECTORY, name)}`),
    'systemctl daemon-reload',
    ...units.map(({ name }) => `systemctl enable --now ${name}`),
  ]
  if (options.dryRun !== true)
    await installUnits({ config: options.config, node: node.name, startsNow: true })
  if (options.json) printJson({ installed: options.dryRun !== true, steps })
  else print(options.dryRun === true ? steps.map((step) => `would ${step}`) : steps)
  return EXIT.done
}
