/**
 * The command tree: names, flags and help, nothing else. What a command does is imported when it runs, so that `status` does not
 * pay for `up`, and an agent's process holds nothing that it does not need.
 */
import { Command, Option } from 'commander'
import type { AgentFlags } from './commands/agent.ts'
import type { ProxyFlags } from './commands/proxy.ts'
import { declare, example, type ProgramOptions, raiseUsageErrors } from './declare.ts'
import {
  dataFlag,
  durabilityFlag,
  jsonFlag,
  list,
  nodeCount,
  notEmpty,
  port,
  portBase,
  rtoFlag,
  workerPlace,
} from './flags.ts'
import { declareChanging } from './program-changing.ts'
import { declareLooking } from './program-looking.ts'
import { declareMachines } from './program-machines.ts'

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
    .addOption(durabilityFlag())
    .addOption(rtoFlag())
    .option('--detach', 'leave the cluster running in the background')
    .addOption(
      new Option(
        '--explain',
        'start nothing: print the set-up as a commented script to follow by hand',
      ).conflicts('detach'),
    )
    .addOption(
      new Option('--on <list>', 'with --explain: for these servers, NAME=HOST of each')
        .argParser(list)
        .conflicts(['nodes', 'data', 'portBase']),
    )
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
  readonly explain?: true
  readonly on?: readonly string[]
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

function declareParts(program: Command, { onExit }: ProgramOptions): void {
  declare(
    program,
    'agent',
    'run the agent of one node in the foreground',
    'understudy agent --config understudy.yaml --node alpha',
  )
    .requiredOption('--config <file>', 'the configuration file of the cluster', notEmpty)
    .addOption(
      new Option('--node <name>', 'the node that it is for (default: that of the bundle)').argParser(
        notEmpty,
      ),
    )
    .option('--explain', 'run nothing: print the set-up as a commented script to follow by hand')
    .addOption(new Option('--json', 'with --explain: print JSON'))
    .action(async (flags: AgentFlags) => onExit(await (await import('./commands/agent.ts')).run(flags)))

  declareProxy(program, onExit)

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

function declareProxy(program: Command, onExit: ProgramOptions['onExit']): void {
  declare(
    program,
    'proxy',
    'run the proxy in the foreground: one address that follows the primary',
    'understudy proxy --config understudy.yaml --node alpha',
  )
    .requiredOption('--config <file>', 'the configuration file of the cluster', notEmpty)
    .addOption(
      new Option(
        '--node <name>',
        'the node at which it runs, whose address and certificate it has (default: that of the bundle)',
      ).argParser(notEmpty),
    )
    .addOption(
      new Option('--worker <place>', 'one of several that the proxy has made')
        .argParser(workerPlace)
        .hideHelp(),
    )
    .action(async (flags: ProxyFlags) => onExit(await (await import('./commands/proxy.ts')).run(flags)))
}
