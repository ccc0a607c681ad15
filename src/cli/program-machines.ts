/** The commands of a cluster that is described by a configuration file: looking at it, and setting machines up. */
import { Argument, type Command, Option } from 'commander'
import { CONFIG_ACTIONS, type ConfigAction } from './config/actions.ts'
import { declare, type JsonFlag, type ProgramOptions } from './declare.ts'
import { type ClusterFlags, clusterFlags, jsonFlag, notEmpty } from './flags.ts'

export function declareMachines(program: Command, { onExit }: ProgramOptions): void {
  clusterFlags(
    declare(
      program,
      'config',
      'check the configuration, show what is in effect, explain what follows from it',
      'understudy config explain wal_receiver_timeout',
    ),
  )
    .addArgument(
      new Argument('<action>', 'validate, show, explain, or schema (JSON Schema for editors)').choices([
        ...CONFIG_ACTIONS,
      ]),
    )
    .argument('[name]', 'explain: only what has this in its name')
    .addOption(new Option('--node <name>', 'show, explain: only this node').argParser(notEmpty))
    .addOption(jsonFlag())
    .action(
      async (action: ConfigAction, name: string | undefined, flags: ClusterFlags & JsonFlag & NodeFlag) => {
        const { run } = await import('./commands/config.ts')
        onExit(await run({ action, ...flags, ...(name !== undefined && { name }) }))
      },
    )
}

interface NodeFlag {
  readonly node?: string
}
