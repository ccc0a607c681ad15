/** The commands of a cluster on several machines: its configuration, its bundles, its services. */
import { Argument, type Command, Option } from 'commander'
import type { AddOptions } from './commands/add.ts'
import type { JoinFlags } from './commands/join.ts'
import type { PushOptions } from './commands/push.ts'
import type { ReleaseOptions } from './commands/release.ts'
import type { RemoveOptions } from './commands/remove.ts'
import type { RotateOptions } from './commands/rotate.ts'
import type { SystemdOptions } from './commands/systemd.ts'
import { CONFIG_ACTIONS, type ConfigAction } from './config/actions.ts'
import { declare, dryRunFlag, type JsonFlag, type ProgramOptions, yesFlag } from './declare.ts'
import {
  type ClusterFlags,
  clusterFlags,
  durabilityFlag,
  jsonFlag,
  list,
  notEmpty,
  port,
  rtoFlag,
} from './flags.ts'
import type { InitOptions } from './machines/given.ts'

export function declareMachines(program: Command, options: ProgramOptions): void {
  declareInit(program, options)
  declareConfig(program, options)
  declareSystemd(program, options)
  declareMembers(program, options)
  declareDelivery(program, options)
  declareRelease(program, options)
}

function homeFlag(): Option {
  return new Option('--dir <dir>', 'where `init` has written (default: understudy-main here)').argParser(
    notEmpty,
  )
}

function declareMembers(program: Command, { onExit }: ProgramOptions): void {
  declare(
    program,
    'add',
    'add a node: its configuration and bundle, and access for it on the others',
    'understudy add delta=10.0.0.4',
  )
    .argument('<node>', 'NAME=HOST, or NAME=HOST:PORT', notEmpty)
    .addOption(homeFlag())
    .addOption(new Option('--api-port <port>', 'the port of its agent (default: 8008)').argParser(port))
    .addOption(
      new Option(
        '--directory <dir>',
        'where its files go on its machine (default: /var/lib/understudy/CLUSTER/NODE)',
      ).argParser(notEmpty),
    )
    .addOption(new Option('--socket-directory <dir>', 'where its unix socket goes').argParser(notEmpty))
    .option('--dry-run', 'only print the configuration that would be')
    .addOption(jsonFlag())
    .action(async (node: string, flags: Omit<AddOptions, 'node'>) =>
      onExit(await (await import('./commands/add.ts')).run({ node, ...flags })),
    )

  declare(
    program,
    'join',
    'let a standby that streams already become this node, without a new clone',
    'understudy join --from postgresql:///postgres --config /etc/understudy/understudy.yaml --dry-run',
  )
    .addOption(
      new Option('--from <url>', 'the standby that runs on this machine, as its superuser').argParser(
        notEmpty,
      ),
    )
    .requiredOption('--config <file>', 'the configuration of this node’s bundle', notEmpty)
    .addOption(
      new Option('--node <name>', 'which node it becomes (default: that of the bundle)').argParser(notEmpty),
    )
    .option('--undo', 'give it back to the service of before')
    .option('--dry-run', 'only look, and print what would be done')
    .addOption(yesFlag())
    .addOption(jsonFlag())
    .action(async (flags: JoinFlags) => onExit(await (await import('./commands/join.ts')).run(flags)))

  declare(
    program,
    'remove',
    'remove a standby: out of the rule of commits, its slots, access and certificate gone',
    'understudy remove charlie',
  )
    .argument('<node>', 'the standby', notEmpty)
    .addOption(homeFlag())
    .addOption(dryRunFlag())
    .addOption(yesFlag())
    .addOption(jsonFlag())
    .action(async (node: string, flags: Omit<RemoveOptions, 'node'>) =>
      onExit(await (await import('./commands/remove.ts')).run({ node, ...flags })),
    )
}

function declareDelivery(program: Command, { onExit }: ProgramOptions): void {
  declare(
    program,
    'push',
    'bring an edited configuration to the nodes that run, without interrupting PostgreSQL',
    'understudy push --dry-run',
  )
    .addOption(homeFlag())
    .addOption(new Option('--node <name>', 'only this node').argParser(notEmpty))
    .option('--dry-run', 'only say which files would be other ones, and whether the nodes would take them')
    .addOption(jsonFlag())
    .action(async (flags: PushOptions) => onExit(await (await import('./commands/push.ts')).run(flags)))

  declare(
    program,
    'rotate',
    'make new passwords or certificates while everything runs',
    'understudy rotate passwords',
  )
    .addArgument(new Argument('<what>', 'passwords or certificates').choices(['passwords', 'certificates']))
    .addOption(homeFlag())
    .option('--dry-run', 'only say what would be done')
    .addOption(yesFlag())
    .addOption(jsonFlag())
    .action(async (what: RotateOptions['what'], flags: Omit<RotateOptions, 'what'>) =>
      onExit(await (await import('./commands/rotate.ts')).run({ what, ...flags })),
    )
}

function declareRelease(program: Command, { onExit }: ProgramOptions): void {
  declare(
    program,
    'release',
    'give every server back as plain PostgreSQL replication, without stopping any',
    'understudy release --dry-run',
  )
    .addOption(homeFlag())
    .option('--dry-run', 'only look, and print what would be done and what is then done by hand')
    .addOption(yesFlag())
    .addOption(jsonFlag())
    .action(async (flags: ReleaseOptions) => onExit(await (await import('./commands/release.ts')).run(flags)))
}

function declareInit(program: Command, { onExit }: ProgramOptions): void {
  declare(
    program,
    'init',
    'write the configuration of a cluster on several machines, and a bundle for each node',
    'understudy init --nodes alpha=10.0.0.1,bravo=10.0.0.2,charlie=10.0.0.3 --store-on alpha,bravo,charlie',
  )
    .addOption(
      new Option('--dir <dir>', 'where it goes (default: understudy-CLUSTER here)').argParser(notEmpty),
    )
    .addOption(
      new Option('--nodes <list>', 'NAME=HOST of each, HOST a name or an address; NAME=HOST:PORT').argParser(
        list,
      ),
    )
    .addOption(new Option('--store <list>', 'the addresses of an etcd that runs already').argParser(list))
    .addOption(
      new Option(
        '--store-on <list>',
        'nodes that run an etcd of this cluster’s own: one, three or five',
      ).argParser(list),
    )
    .addOption(new Option('--store-ca <file>', 'the authority of that etcd').argParser(notEmpty))
    .addOption(new Option('--store-cert <file>', 'a client certificate for it').argParser(notEmpty))
    .addOption(new Option('--store-key <file>', 'the key of that certificate').argParser(notEmpty))
    .addOption(new Option('--store-user <name>', 'its user').argParser(notEmpty))
    .addOption(new Option('--store-password-file <file>', 'the password of that user').argParser(notEmpty))
    .addOption(new Option('--cluster <name>', 'the cluster’s name (default: main)').argParser(notEmpty))
    .addOption(durabilityFlag())
    .addOption(rtoFlag())
    .addOption(new Option('--pg <major|bindir>', 'PostgreSQL to use on every node').argParser(notEmpty))
    .addOption(new Option('--port <port>', 'the port of every PostgreSQL (default: 5432)').argParser(port))
    .addOption(new Option('--api-port <port>', 'the port of every agent (default: 8008)').argParser(port))
    .addOption(
      new Option(
        '--proxy-port <port>',
        'run a proxy on every node, with its read-write port here (6433, say), auto before it, and read-only behind it',
      ).argParser(port),
    )
    .addOption(
      new Option(
        '--owner <user>',
        'who owns a bundle’s files when root unpacks it (default: postgres)',
      ).argParser(notEmpty),
    )
    .addOption(new Option('--format <format>', 'of the bundles').choices(['tar', 'directory']).default('tar'))
    .addOption(
      new Option(
        '--from <url>',
        'begin with the server that runs on this machine: postgresql:///postgres, or with user, host and port',
      ).argParser(notEmpty),
    )
    .addOption(
      new Option('--node <name>', '--from: which of --nodes is this machine (default: the first)').argParser(
        notEmpty,
      ),
    )
    .addOption(
      new Option(
        '--bundle-directory <dir>',
        '--from: where the bundle of this machine goes (default: /etc/understudy)',
      ).argParser(notEmpty),
    )
    .option('--end-archiving', '--from: end the WAL archiving of that server')
    .option('--undo', 'give a server that was taken over back to its service')
    .option('--dry-run', 'only print the configuration, or the plan, and what would be written')
    .addOption(yesFlag())
    .addOption(jsonFlag())
    .action(async (flags: InitOptions) => onExit(await (await import('./commands/init.ts')).run(flags)))
}

function declareConfig(program: Command, { onExit }: ProgramOptions): void {
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

function declareSystemd(program: Command, { onExit }: ProgramOptions): void {
  declare(
    program,
    'systemd',
    'print the units of a node’s agent, and of its proxy and its etcd where it has them',
    'understudy systemd --config /etc/understudy/understudy.yaml --install',
  )
    .requiredOption('--config <file>', 'the configuration file of the cluster', notEmpty)
    .addOption(
      new Option('--node <name>', 'the node that it is for (default: that of the bundle)').argParser(
        notEmpty,
      ),
    )
    .option('--install', 'write the units, enable them and start them')
    .option('--dry-run', 'with --install: only say what would be done')
    .addOption(jsonFlag())
    .action(async (flags: SystemdOptions) => onExit(await (await import('./commands/systemd.ts')).run(flags)))
}
