/** The files of a node that is configured by hand: the same settings, rules and conninfo as its agent would write. Pure. */
import type { ResolvedNode } from '../../config/load.ts'
import { renderBaseSettings, renderSettings } from '../../postgres/base-configuration.ts'
import { conninfo, conninfoParts, replicationSettings } from '../../postgres/configuration.ts'
import { renderHbaRules, takenHbaLines } from '../../postgres/hba.ts'
import { nodeLayout } from '../../postgres/layout.ts'
import { parameterVerdict } from '../../postgres/parameters.ts'
import { settingLine } from '../../postgres/setting-text.ts'
import { inputFor, replicationOf, type Scene, upstreamOf } from './scene.ts'

export interface HandFile {
  readonly path: string
  readonly content: string
}

export function configurationFiles(scene: Scene, node: ResolvedNode): readonly HandFile[] {
  const input = inputFor(scene, node)
  const { confDir, configFile } = nodeLayout(node.directory)
  const ident = input.ident ?? []
  const own = Object.entries(input.parameters)
    .filter(([name, value]) => parameterVerdict(name, value, scene.major).kind === 'allowed')
    .map(([name, value]) => `${settingLine(name, value)}\n`)
  const yours = own.length === 0 ? '' : `# --- Yours (postgres.parameters)\n${own.join('')}\n`
  return [
    {
      path: configFile,
      content: `${yours}${renderBaseSettings(input)}\n# --- The role of this server right now\ninclude 'replication.conf'\n`,
    },
    replicationFile(scene, node, ''),
    {
      path: `${confDir}/pg_hba.conf`,
      content: renderHbaRules(input.members, takenHbaLines(input.extraHba), input.ownAccess ?? null),
    },
    {
      path: `${confDir}/pg_ident.conf`,
      content:
        ident.length === 0
          ? '# No user of the operating system is mapped to a role.\n'
          : `${ident.join('\n')}\n`,
    },
  ]
}

export function replicationFile(scene: Scene, node: ResolvedNode, synchronousNames: string): HandFile {
  const settings = replicationSettings(
    inputFor(scene, node),
    replicationOf(scene, node, synchronousNames),
  ).filter(({ ofAgent }) => ofAgent !== true)
  return {
    path: `${nodeLayout(node.directory).confDir}/replication.conf`,
    content: settings.map((setting) => renderSettings([setting])).join('\n'),
  }
}

/** How the standby reaches the primary, as one connection string. */
export function upstreamConninfo(scene: Scene, node: ResolvedNode): string {
  return conninfo(conninfoParts(inputFor(scene, node), upstreamOf(scene, node)))
}
