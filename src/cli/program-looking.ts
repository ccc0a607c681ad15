/** The commands that only look. */
import { type Command, Option } from 'commander'
import { declare, type JsonFlag, type ProgramOptions } from './declare.ts'
import {
  type ClusterFlags,
  clusterFlags,
  jsonFlag,
  nodeCount,
  notEmpty,
  portBase,
  wholeNumber,
} from './flags.ts'

const epochNumber = wholeNumber(1, 999_999_999)

export function declareLooking(program: Command, options: ProgramOptions): void {
  declareState(program, options)
  declareTour(program, options)
  declareRecords(program, options)
}

function declareState(program: Command, { onExit, passthrough }: ProgramOptions): void {
  clusterFlags(
    declare(program, 'status', 'show the cluster: roles, lag, problems', 'understudy status --watch'),
  )
    .addOption(jsonFlag().conflicts('watch'))
    .option('--watch', 'keep showing it (q or Ctrl-C leaves)')
    .action(async (flags: ClusterFlags & JsonFlag & { readonly watch?: true }) =>
      onExit(await (await import('./commands/status.ts')).run(flags)),
    )

  clusterFlags(
    declare(
      program,
      'url',
      'print the URI to connect with',
      'psql "$(understudy url)"; understudy url read-only; understudy url bravo',
    ),
  )
    .argument('[target]', 'a node, or auto, read-write, read-only', 'read-write')
    .option('--superuser', 'connect as the superuser, to the servers themselves')
    .option(
      '--direct',
      'the servers themselves, though there is a proxy: for sessions with a state of their own',
    )
    .option('--no-password', 'leave the password out')
    .action(async (target: string, flags: UrlFlags) =>
      onExit(await (await import('./commands/url.ts')).run({ target, ...flags })),
    )

  clusterFlags(
    declare(program, 'psql', 'open psql on the cluster', "understudy psql read-only -- -c 'select now()'"),
  )
    .argument('[target]', 'a node, or auto, read-write, read-only', 'read-write')
    .option('--superuser', 'connect as the superuser')
    .usage('[options] [target] [-- psql arguments]')
    .action(async (target: string, flags: ClusterFlags & { readonly superuser?: true }) =>
      onExit(await (await import('./commands/psql.ts')).run({ target, passthrough, ...flags })),
    )
}

function declareTour(program: Command, { onExit }: ProgramOptions): void {
  clusterFlags(
    declare(
      program,
      'tour',
      'show on the running cluster how replication is set up and changed, step by step',
      'understudy tour --plain --no-changes',
    ),
  )
    .option('--plain', 'wait for no key, and print without colours')
    .addOption(new Option('--no-changes', 'leave the switchover and the failover out').conflicts('yes'))
    .addOption(new Option('--yes', 'do not ask before the switchover and the failover'))
    .addOption(jsonFlag())
    .action(async (flags: TourFlags) => onExit(await (await import('./commands/tour.ts')).run(flags)))
}

function declareRecords(program: Command, { onExit }: ProgramOptions): void {
  clusterFlags(
    declare(program, 'why', 'say which rule each node follows right now, and why', 'understudy why bravo'),
  )
    .argument('[node]', 'only this node')
    .addOption(jsonFlag())
    .action(async (node: string | undefined, flags: ClusterFlags & JsonFlag) =>
      onExit(await (await import('./commands/why.ts')).run(node === undefined ? flags : { ...flags, node })),
    )

  clusterFlags(declare(program, 'events', 'list what happened, newest last', 'understudy events --follow'))
    .addOption(jsonFlag())
    .option('--follow', 'go on printing events as they happen')
    .addOption(new Option('--limit <n>', 'only the newest n').argParser(wholeNumber(1, 100_000)).default(50))
    .action(async (flags: ClusterFlags & JsonFlag & { readonly follow?: true; readonly limit: number }) =>
      onExit(await (await import('./commands/events.ts')).run(flags)),
    )

  clusterFlags(
    declare(
      program,
      'history',
      'list the changes of primary, and how long each took',
      'understudy history 3',
    ),
  )
    .addArgument(program.createArgument('[epoch]', 'only this one, with every phase').argParser(epochNumber))
    .addOption(jsonFlag())
    .addOption(new Option('--limit <n>', 'only the newest n').argParser(wholeNumber(1, 100_000)).default(50))
    .action(async (epoch: number | undefined, flags: ClusterFlags & JsonFlag & { readonly limit: number }) =>
      onExit(
        await (await import('./commands/history.ts')).run(epoch === undefined ? flags : { ...flags, epoch }),
      ),
    )

  clusterFlags(
    declare(
      program,
      'doctor',
      'check what a start needs on this machine, or the replication of any primary',
      'understudy doctor --url postgresql://postgres@db1.example.com',
    ),
  )
    .addOption(jsonFlag())
    .addOption(
      new Option(
        '--url <uri>',
        'only look at the replication of this primary, whoever set it up; changes nothing',
      )
        .argParser(notEmpty)
        .conflicts(['data', 'config', 'pg', 'portBase', 'nodes', 'node']),
    )
    .addOption(
      new Option(
        '--node <name>',
        'with --config: the node of this machine (default: that of the bundle)',
      ).argParser(notEmpty),
    )
    .addOption(new Option('--pg <major|bindir>', 'the PostgreSQL that is meant').argParser(notEmpty))
    .addOption(new Option('--port-base <port>', 'the ports that are meant').argParser(portBase))
    .addOption(new Option('--nodes <n>', 'the number of nodes that is meant').argParser(nodeCount))
    .action(async (flags: DoctorFlags) => onExit(await (await import('./commands/doctor.ts')).run(flags)))
}

interface UrlFlags extends ClusterFlags {
  readonly superuser?: true
  readonly direct?: true
  readonly password: boolean
}

interface TourFlags extends ClusterFlags, JsonFlag {
  readonly plain?: true
  readonly changes: boolean
  readonly yes?: true
}

interface DoctorFlags extends ClusterFlags, JsonFlag {
  readonly pg?: string
  readonly url?: string
  readonly node?: string
  readonly portBase?: number
  readonly nodes?: number
}
