/** The commands that change a running cluster. */
import { type Command, Option } from 'commander'
import { declare, dryRunFlag, type JsonFlag, type ProgramOptions, yesFlag } from './declare.ts'
import { type ClusterFlags, clusterFlags, jsonFlag, notEmpty } from './flags.ts'

export function declareChanging(program: Command, options: ProgramOptions): void {
  declareElections(program, options)
  declareRecovery(program, options)
  declareUpkeep(program, options)
}

function declareElections(program: Command, { onExit }: ProgramOptions): void {
  clusterFlags(
    declare(
      program,
      'switchover',
      'make another node the primary, in order',
      'understudy switchover --to bravo',
    ),
  )
    .addOption(
      new Option(
        '--to <node>',
        'the node that shall be primary (default: the standby that is furthest)',
      ).argParser(notEmpty),
    )
    .addOption(
      new Option(
        '--at <time>',
        'not now but then: 2030-01-31T22:00:00+01:00 (at most a minute late)',
      ).argParser(notEmpty),
    )
    .addOption(
      new Option('--cancel', 'take back one that waits to be carried out').conflicts(['to', 'at', 'dryRun']),
    )
    .addOption(dryRunFlag())
    .addOption(yesFlag())
    .addOption(jsonFlag())
    .action(async (flags: ClusterFlags & JsonFlag & SwitchoverFlags) =>
      onExit(await (await import('./commands/switchover.ts')).run(flags)),
    )

  clusterFlags(
    declare(
      program,
      'failover',
      'elect another primary by hand, when the cluster does not do it by itself',
      'understudy failover --dry-run',
    ),
  )
    .addOption(
      new Option('--to <node>', 'the node that shall be primary (default: the one that has most)').argParser(
        notEmpty,
      ),
    )
    .option('--accept-data-loss', 'go on without the votes that are missing, and lose what only they have')
    .addOption(new Option('--reason <text>', 'what for; goes into the history').argParser(notEmpty))
    .addOption(dryRunFlag())
    .addOption(yesFlag())
    .addOption(jsonFlag())
    .action(async (flags: ClusterFlags & JsonFlag & FailoverFlags) =>
      onExit(await (await import('./commands/failover.ts')).run(flags)),
    )
}

function declareRecovery(program: Command, { onExit }: ProgramOptions): void {
  clusterFlags(
    declare(
      program,
      'recover-store',
      'put back what the store has forgotten: restored from an old copy, or emptied',
      'understudy recover-store --dry-run',
    ),
  )
    .addOption(
      new Option('--without <node...>', 'leave out a node that will not come back').argParser(nodeNames),
    )
    .option('--accept-data-loss', 'lose what only the nodes know that are left out')
    .addOption(new Option('--reason <text>', 'what for; goes into the history').argParser(notEmpty))
    .addOption(dryRunFlag())
    .addOption(yesFlag())
    .addOption(jsonFlag())
    .action(async (flags: ClusterFlags & JsonFlag & RecoveryFlags) =>
      onExit(await (await import('./commands/recover-store.ts')).run(flags)),
    )
}

function nodeNames(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, notEmpty(text)]
}

function declareUpkeep(program: Command, { onExit }: ProgramOptions): void {
  clusterFlags(
    declare(
      program,
      'pause',
      'let nobody be elected until `resume`',
      'understudy pause --reason "network work"',
    ),
  )
    .addOption(new Option('--reason <text>', 'what for').argParser(notEmpty).default('by an operator'))
    .addOption(jsonFlag())
    .action(async (flags: ClusterFlags & JsonFlag & { readonly reason: string }) =>
      onExit(await (await import('./commands/pause.ts')).run(flags)),
    )

  clusterFlags(declare(program, 'resume', 'let failover be automatic again', 'understudy resume'))
    .addOption(jsonFlag())
    .action(async (flags: ClusterFlags & JsonFlag) =>
      onExit(await (await import('./commands/pause.ts')).run({ ...flags, reason: null })),
    )

  clusterFlags(
    declare(program, 'reinit', 'clone a standby anew, its old data stays beside', 'understudy reinit bravo'),
  )
    .argument('<node>', 'the standby')
    .addOption(dryRunFlag())
    .addOption(yesFlag())
    .addOption(jsonFlag())
    .action(async (node: string, flags: ClusterFlags & JsonFlag & { dryRun?: true; yes?: true }) =>
      onExit(await (await import('./commands/reinit.ts')).run({ node, ...flags })),
    )
}

interface FailoverFlags {
  readonly to?: string
  readonly acceptDataLoss?: true
  readonly reason?: string
  readonly dryRun?: true
  readonly yes?: true
}

interface RecoveryFlags {
  readonly without?: readonly string[]
  readonly acceptDataLoss?: true
  readonly reason?: string
  readonly dryRun?: true
  readonly yes?: true
}

interface SwitchoverFlags {
  readonly to?: string
  readonly at?: string
  readonly cancel?: true
  readonly dryRun?: true
  readonly yes?: true
}
