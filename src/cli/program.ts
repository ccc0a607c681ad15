/**
 * The command tree: names, flags and help, nothing else. What a command does is imported when it runs, so that `status` does not
 * pay for `up`, and an agent's process holds nothing that it does not need.
 */
import { Command, type CommanderError, Option } from 'commander'
import {
  type ClusterFlags,
  clusterFlags,
  dataFlag,
  duration,
  jsonFlag,
  nodeCount,
  notEmpty,
  port,
  portBase,
  wholeNumber,
} from './flags.ts'
import { declareMachines } from './program-machines.ts'
import { usageError } from './usage.ts'

export interface ProgramOptions {
  readonly version: string
  /** What came after `--`: belongs to the program that a command starts (psql). */
  readonly passthrough: readonly string[]
  /** Called once with the exit code of the command that ran. */
  readonly onExit: (code: number) => void
}

interface JsonFlag {
  readonly json?: true
}

export function createProgram(options: ProgramOptions): Command {
  const program = new Command('understudy')
  program
    .description('PostgreSQL replication that sets itself up, proves that it is safe, and takes over on cue.')
    .version(options.version, '-V, --version', 'print the version')
    .configureOutput({ outputError: () => {} })
    .showSuggestionAfterError(false)
    .helpOption('-h, --help', 'show this help')
    .helpCommand('help [command]', 'show the help of a command')
    .addHelpText('after', example('understudy up --nodes 3'))
  raiseUsageErrors(program)
  declareLocal(program, options)
  declareLooking(program, options)
  declareChanging(program, options)
  declareMachines(program, options)
  declareParts(program, options)
  return program
}

/** Commander would print and exit by itself; its errors are ours to print, and each names the command that it is about. */
function raiseUsageErrors(command: Command): void {
  command.exitOverride((error: CommanderError) => {
    throw error.exitCode === 0 || error.code === 'commander.help' ? error : usageError(command, error)
  })
}

function declare(program: Command, name: string, about: string, sample: string, hidden = false): Command {
  const command = program.command(name, { hidden }).description(about)
  raiseUsageErrors(command)
  return command.helpOption('-h, --help', 'show this help').addHelpText('after', example(sample))
}

function example(line: string): string {
  return `\nExample:\n  ${line}`
}

function declareLocal(program: Command, { onExit }: ProgramOptions): void {
  declare(
    program,
    'up',
    'start or resume the local cluster: a store, and N nodes of which one is the primary',
    'understudy up --nodes 3 --durability quorum',
  )
    .addOption(new Option('--nodes <n>', 'number of nodes (default: 3)').argParser(nodeCount))
    .addOption(dataFlag())
    .addOption(
      new Option('--pg <major|bindir>', 'PostgreSQL to use: a major version, or its bin directory').argParser(
        notEmpty,
      ),
    )
    .addOption(
      new Option('--port-base <port>', 'nodes listen from here on (default: 5500)').argParser(portBase),
    )
    .addOption(
      new Option('--durability <mode>', 'whether commits wait for a standby (default: quorum)').choices([
        'quorum',
        'async',
      ]),
    )
    .addOption(
      new Option(
        '--rto <duration>',
        "how soon the primary's silence counts as death (default: 3s)",
      ).argParser(duration),
    )
    .option('--detach', 'leave the cluster running in the background')
    .addOption(jsonFlag())
    .action(async (flags: UpFlags) =>
      onExit(await (await import('./commands/up.ts')).run({ ...flags, ...switches(flags) })),
    )

  declare(program, 'down', 'stop the local cluster in order', 'understudy down')
    .addOption(dataFlag())
    .addOption(jsonFlag())
    .action(async (flags: DownFlags) =>
      onExit(await (await import('./commands/down.ts')).run({ ...flags, ...switches(flags) })),
    )
}

interface UpFlags {
  readonly nodes?: number
  readonly data?: string
  readonly pg?: string
  readonly portBase?: number
  readonly durability?: 'quorum' | 'async'
  readonly rto?: string
  readonly detach?: true
  readonly json?: true
}

interface DownFlags {
  readonly data?: string
  readonly json?: true
}

/** Commander leaves out a switch that was not given, and would print a default of false in the help. */
function switches(flags: { readonly detach?: true; readonly json?: true }): {
  detach: boolean
  json: boolean
} {
  return { detach: flags.detach === true, json: flags.json === true }
}

function declareLooking(program: Command, { onExit, passthrough }: ProgramOptions): void {
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
    .argument('[target]', 'a node, or auto, read-write, read-only', 'auto')
    .option('--superuser', 'connect as the superuser')
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
      'doctor',
      'check what a start needs on this machine',
      'understudy doctor --port-base 6500',
    ),
  )
    .addOption(jsonFlag())
    .addOption(new Option('--pg <major|bindir>', 'the PostgreSQL that is meant').argParser(notEmpty))
    .addOption(new Option('--port-base <port>', 'the ports that are meant').argParser(portBase))
    .addOption(new Option('--nodes <n>', 'the number of nodes that is meant').argParser(nodeCount))
    .action(async (flags: DoctorFlags) => onExit(await (await import('./commands/doctor.ts')).run(flags)))
}

interface UrlFlags extends ClusterFlags {
  readonly superuser?: true
  readonly password: boolean
}

interface DoctorFlags extends ClusterFlags, JsonFlag {
  readonly pg?: string
  readonly portBase?: number
  readonly nodes?: number
}

function declareChanging(program: Command, { onExit }: ProgramOptions): void {
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
    .option('--dry-run', 'only say whether it could begin')
    .addOption(yesFlag())
    .addOption(jsonFlag())
    .action(async (flags: ClusterFlags & JsonFlag & SwitchoverFlags) =>
      onExit(await (await import('./commands/switchover.ts')).run(flags)),
    )

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
    .addOption(yesFlag())
    .addOption(jsonFlag())
    .action(async (node: string, flags: ClusterFlags & JsonFlag & { readonly yes?: true }) =>
      onExit(await (await import('./commands/reinit.ts')).run({ node, ...flags })),
    )
}

interface SwitchoverFlags {
  readonly to?: string
  readonly dryRun?: true
  readonly yes?: true
}

function yesFlag(): Option {
  return new Option('--yes', 'do not ask')
}

function declareParts(program: Command, { onExit }: ProgramOptions): void {
  declare(
    program,
    'agent',
    'run the agent of one node in the foreground',
    'understudy agent --config understudy.yaml --node alpha',
  )
    .requiredOption('--config <file>', 'the configuration file of the cluster', notEmpty)
    .requiredOption('--node <name>', 'the node that it is for', notEmpty)
    .action(async (flags: { readonly config: string; readonly node: string }) =>
      onExit(await (await import('./commands/agent.ts')).run(flags)),
    )

  declare(
    program,
    'store',
    'run the embedded store in the foreground (`up` starts it)',
    'understudy store --directory store --port 5591 --token-file secrets/store-token',
    true,
  )
    .requiredOption('--directory <dir>', 'where it keeps its data', notEmpty)
    .requiredOption('--port <port>', 'where it listens', port)
    .requiredOption('--token-file <file>', 'the token that it asks for', notEmpty)
    .action(
      async (flags: { readonly directory: string; readonly port: number; readonly tokenFile: string }) =>
        onExit(await (await import('./commands/store.ts')).run(flags)),
    )

  declare(
    program,
    'supervise',
    'keep the parts of a detached local cluster running',
    'understudy up --detach',
    true,
  )
    .requiredOption('--data <dir>', 'the directory of the local cluster', notEmpty)
    .action(async (flags: { readonly data: string }) =>
      onExit(await (await import('./commands/supervise.ts')).run(flags)),
    )

  declare(
    program,
    'completion',
    'print the completion script of a shell',
    'source <(understudy completion bash)',
  )
    .argument('<shell>', 'bash, zsh or fish')
    .action(async (shell: string) =>
      onExit(await (await import('./commands/completion.ts')).run({ shell, program })),
    )
}
