/** The set-up of a replicated cluster as parts of a shell script, in order, each for one server and one user. Pure. */
import type { ResolvedNode } from '../../config/load.ts'
import { acksFor } from '../../core/primacy.ts'
import { nodeLayout } from '../../postgres/layout.ts'
import { enumerate } from '../humanise.ts'
import { proofSql } from '../proof-sql.ts'
import {
  authority,
  authorityKey,
  baseBackup,
  certificate,
  createSlot,
  initdb,
  passfiles,
  program,
  ROLES_BY_HAND,
  reload,
  roleSql,
  secretFile,
  start,
  verifyBackup,
} from './commands.ts'
import { configurationFiles, type HandFile, replicationFile } from './files.ts'
import { LOOK_ROLES, LOOK_SLOTS, LOOK_WALRECEIVER, LOOK_WALSENDERS, type Look } from './looks.ts'
import { isOneMachine, ruleOf, type Scene, superuserPassfile, synchronousNamesOf } from './scene.ts'
import { command, file, line, word } from './shell.ts'

export interface Section {
  readonly number: number
  readonly title: string
  /** The node on whose server it is typed. */
  readonly on: string
  /** The user of that server. */
  readonly as: string
  /** Why, and what to look at; one sentence or more each. */
  readonly about: readonly string[]
  /** Without comments about the part itself: lines of a POSIX shell. */
  readonly shell: string
}

type Part = Omit<Section, 'number' | 'as'> & { readonly asRoot?: true }

/** Some packages split them: what is missing is said before anything is made. */
const NEEDED_PROGRAMS = ['initdb', 'pg_ctl', 'pg_basebackup', 'pg_verifybackup', 'psql'] as const

/** Of the row that proves it; removed at the end. */
const PROOF = proofSql('understudy_by_hand')
/** Any ones will do, as long as both servers mean the same row. */
const ROWS = {
  first: "'00000000-0000-4000-8000-000000000001'",
  second: "'00000000-0000-4000-8000-000000000002'",
}

export function sectionsOf(scene: Scene): readonly Section[] {
  const { primary, standbys, owner, byRoot, config } = scene
  const parts: readonly Part[] = [
    ...config.nodes.map((node) => prerequisites(scene, node)),
    secretsAndCertificates(scene),
    ...(isOneMachine(scene) ? [] : standbys.map((node) => handOver(scene, node))),
    initialize(scene),
    settings(scene, primary),
    startServer(scene, primary),
    roles(scene),
    ...(standbys.length === 0 ? [] : replicationParts(scene)),
    lookAgain(scene),
  ]
  return parts.map(({ asRoot, ...part }, index) => ({
    number: index + 1,
    ...part,
    as: asRoot === true && byRoot ? 'root' : owner,
  }))
}

function replicationParts(scene: Scene): readonly Part[] {
  const { standbys, config } = scene
  const synchronous = [...standbys.map((node) => carryRule(scene, node)), waitForStandbys(scene)]
  return [
    slots(scene),
    ...standbys.flatMap((node) => [copy(scene, node), settings(scene, node), startServer(scene, node)]),
    writeRow(scene),
    ...standbys.map((node) => readRow(scene, node)),
    ...(config.durability === 'quorum' ? synchronous : []),
    removeRow(scene),
  ]
}

function prerequisites(scene: Scene, node: ResolvedNode): Part {
  const { owner, byRoot, major, config } = scene
  const { nodeDir, confDir, logDir } = nodeLayout(node.directory)
  const directories = [
    ...new Set([
      config.secrets.directory,
      config.tls.caFile.replace(/\/[^/]*$/, ''),
      nodeDir,
      confDir,
      logDir,
      `${nodeDir}/secrets`,
      node.socketDirectory,
    ]),
  ]
  const install = `if ! test -x ${word(program(scene, 'initdb'))}; then
  # Debian's package would start a cluster of its own; this one gets its own directory instead.
  mkdir -p /etc/postgresql-common
  echo 'create_main_cluster = false' >> /etc/postgresql-common/createcluster.conf
  apt-get install --yes postgresql-${major} openssl
fi`
  const present = command('ls', ...NEEDED_PROGRAMS.map((name) => program(scene, name)))
  const make = byRoot
    ? command('install', '-d', '-m', '700', '-o', owner, ...directories)
    : command('mkdir', '-p', '-m', '700', ...directories)
  return {
    title: 'prerequisites',
    on: node.name,
    asRoot: true,
    about: [
      `Stock PostgreSQL ${major}, the same major version on every server, and directories that only ${owner} can read.`,
      `The servers reach each other on their PostgreSQL ports (${[...new Set(config.nodes.map(({ port }) => port))].join(', ')}), and their clocks agree to within a day.`,
    ],
    shell: [...(byRoot ? [install] : []), present, make].join('\n'),
  }
}

function secretsAndCertificates(scene: Scene): Part {
  const { config, primary } = scene
  const made = ROLES_BY_HAND.map((role) => {
    const target = word(secretFile(scene, role))
    return `test -s ${target} || openssl rand -hex 32 > ${target}`
  })
  const keys = config.nodes.map((node) => {
    const target = word(config.tls.certFile(node.name))
    return `if ! test -s ${target}; then\n${certificate(scene, node)}\nfi`
  })
  return {
    title: 'passwords and certificates',
    on: primary.name,
    about: [
      'A password for each role, of 256 random bits, in files that only their owner can read: none ever stands in a command line.',
      'An authority of this cluster’s own signs a certificate for each server, so that a standby knows that it streams from the right one (sslmode=verify-full).',
      `Afterwards keep ${authorityKey(scene)} somewhere else: whoever has it can make more certificates.`,
    ],
    shell: [
      'umask 077',
      ...made,
      `if ! test -s ${word(config.tls.caFile)}; then\n${authority(scene)}\nfi`,
      ...keys,
    ].join('\n'),
  }
}

function handOver(scene: Scene, node: ResolvedNode): Part {
  const { config, primary } = scene
  const { tls } = config
  const files = [
    ...[tls.caFile, tls.certFile(node.name), tls.keyFile(node.name)],
    ...ROLES_BY_HAND.map((role) => secretFile(scene, role)),
  ].map((each) => each.replace(/^\//, ''))
  return {
    title: `what ${node.name} needs of it`,
    on: primary.name,
    asRoot: true,
    about: [
      `The authority’s certificate (not its key), ${node.name}’s own certificate and key, and the passwords. Owner and modes stay as they are.`,
    ],
    shell: `tar -C / -czf - ${files.map(word).join(' \\\n    ')} \\\n  | ssh ${word(`root@${node.host}`)} 'tar -C / -xzpf -'`,
  }
}

function initialize(scene: Scene): Part {
  return {
    title: 'a first data directory',
    on: scene.primary.name,
    about: [
      'Data checksums (-k), so that damage is seen and pg_rewind works; UTF-8; C.UTF-8, so that an upgrade of the system cannot change the order of an index.',
      'The pg_hba.conf that initdb writes rejects everybody. It is not used: the server gets files of its own, outside the data directory, so that a copy or rewind does not bring another server’s.',
    ],
    shell: `umask 077\n${initdb(scene)}\n${passfiles(scene, scene.primary)}`,
  }
}

function settings(scene: Scene, node: ResolvedNode): Part {
  const isPrimary = node.name === scene.primary.name
  const { dataDir } = nodeLayout(node.directory)
  const files = configurationFiles(scene, node).map((each) =>
    filed(
      isPrimary || each.content.split('\n').length < 3
        ? each
        : { ...each, content: withoutReasons(each.content) },
    ),
  )
  return {
    title: isPrimary ? 'the primary’s settings, and who may come in' : 'the standby’s settings',
    on: node.name,
    about: [
      isPrimary
        ? 'Each line has its reason. Every server gets the same ones, so that any of them can be primary.'
        : 'As the primary’s, where the reasons are, with its own names and addresses, and with primary_conninfo: from whom it streams. standby.signal makes it a standby.',
      ...(scene.diskBytes.has(node.name)
        ? []
        : [
            'max_slot_wal_keep_size and wal_keep_size are those for a disk of 50 GB: a tenth of it, and a quarter of that.',
          ]),
    ],
    shell: ['umask 077', ...files, ...(isPrimary ? [] : [`: > ${word(`${dataDir}/standby.signal`)}`])].join(
      '\n',
    ),
  }
}

/** They stand beside the primary's settings already. */
function withoutReasons(content: string): string {
  return content
    .replace(/^#(?! ---).*\n/gm, '')
    .replace(/\n{2,}/g, '\n')
    .trimStart()
}

function filed({ path, content }: HandFile): string {
  return file(path, content)
}

function startServer(scene: Scene, node: ResolvedNode): Part {
  const isPrimary = node.name === scene.primary.name
  return {
    title: isPrimary ? 'start the primary' : 'start the standby',
    on: node.name,
    about: [
      isPrimary
        ? `If it does not start, ${nodeLayout(node.directory).startupLog} and the files beside it say why.`
        : 'It replays what came with the copy, connects, and streams. On it, pg_stat_wal_receiver has a row from then on.',
    ],
    shell: isPrimary
      ? start(scene, node)
      : [
          start(scene, node),
          asSuperuser(scene, node),
          until(
            scene,
            "SELECT count(*) = 1 FROM pg_stat_wal_receiver WHERE status = 'streaming'",
            'it does not stream: look into its log',
          ),
          psql(scene, [LOOK_WALRECEIVER.sql]),
        ].join('\n'),
  }
}

function roles(scene: Scene): Part {
  const byHand: readonly string[] = ROLES_BY_HAND
  const statements = roleSql(scene, (role) => `:'${role}'`).filter(
    ({ role }) => byHand.includes(role) && role !== 'superuser',
  )
  const used = ROLES_BY_HAND.filter((role) => statements.some((each) => each.sql.includes(`:'${role}'`)))
  return {
    title: 'the replication role, and the application’s',
    on: scene.primary.name,
    about: [
      'psql reads the passwords from their files (\\set with backquotes), so that they stand in no command line and in no history.',
      `Look: ${LOOK_ROLES.psql ?? ''}. ${LOOK_ROLES.says}`,
    ],
    shell: [
      asSuperuser(scene, scene.primary),
      psql(scene, [
        ...used.map((role) => `\\set ${role} \`cat ${word(secretFile(scene, role))}\``),
        ...statements.flatMap(({ sql, why }) => [`-- ${why}`, sql]),
        LOOK_ROLES.psql ?? LOOK_ROLES.sql,
      ]),
    ].join('\n'),
  }
}

function slots(scene: Scene): Part {
  return {
    title: 'a slot for each standby',
    on: scene.primary.name,
    about: [
      'The primary keeps the WAL that a standby has not taken yet, from now on (true: also before the standby first connects).',
      `Look: pg_replication_slots. ${LOOK_SLOTS.says}`,
    ],
    shell: [
      asSuperuser(scene, scene.primary),
      psql(scene, [...scene.standbys.map(createSlot), LOOK_SLOTS.sql]),
    ].join('\n'),
  }
}

function copy(scene: Scene, node: ResolvedNode): Part {
  return {
    title: 'a copy of the primary',
    on: node.name,
    about: [
      'pg_basebackup comes in as the replication role, over TLS, and takes the WAL of the meantime along (-X stream) from the standby’s own slot. The password is in the passfile.',
      'pg_verifybackup holds every file against the manifest of the copy. It can do that only before the first start.',
    ],
    shell: ['umask 077', passfiles(scene, node), baseBackup(scene, node), verifyBackup(scene, node)].join(
      '\n',
    ),
  }
}

function writeRow(scene: Scene): Part {
  return {
    title: 'write a row',
    on: scene.primary.name,
    about: [
      'The proof that it works: a row that is written here is read there.',
      `Look: pg_stat_replication. ${LOOK_WALSENDERS.says}`,
    ],
    shell: [
      asSuperuser(scene, scene.primary),
      psql(scene, [...PROOF.create, withRow(PROOF.write), LOOK_WALSENDERS.sql]),
    ].join('\n'),
  }
}

function readRow(scene: Scene, node: ResolvedNode): Part {
  return {
    title: 'read the row',
    on: node.name,
    about: ['It is there within milliseconds. A standby answers queries (hot_standby) and refuses to write.'],
    shell: [
      asSuperuser(scene, node),
      until(scene, PROOF.exists, 'the table does not arrive'),
      until(scene, withRow(PROOF.read), 'the row does not arrive'),
      psql(scene, [withRow(PROOF.read), 'SELECT pg_is_in_recovery() AS standby']),
    ].join('\n'),
  }
}

/** Standbys first: one that is promoted must wait from its first commit on. */
function carryRule(scene: Scene, node: ResolvedNode): Part {
  return {
    title: 'synchronous replication, carried',
    on: node.name,
    about: [
      'A standby carries the rule that it would need as primary, so that its first commit after a promotion waits as well.',
    ],
    shell: [filed(replicationFile(scene, node, synchronousNamesOf(scene, node))), reload(scene, node)].join(
      '\n',
    ),
  }
}

function waitForStandbys(scene: Scene): Part {
  const { primary, standbys } = scene
  const { acks } = ruleOf(scene)
  const names = enumerate(standbys.map(({ name }) => name))
  const enough = standbys.length === 1 ? `${names} has` : `${acks} of ${names} ${acks === 1 ? 'has' : 'have'}`
  const alone =
    acksFor(standbys.length) === 0
      ? [
          'With one standby, losing it stops every write until synchronous_standby_names is emptied by hand. understudy itself waits for standbys from two on, where one may be lost.',
        ]
      : []
  return {
    title: 'synchronous replication, in effect',
    on: primary.name,
    about: [
      `From here on a commit is acknowledged when ${enough} it on disk: what a client was told is committed survives the loss of the primary.`,
      ...alone,
      'Look: sync_state is quorum then. The write of another row below returns only after that acknowledgement; were no standby there, it would wait.',
    ],
    shell: [
      filed(replicationFile(scene, primary, synchronousNamesOf(scene, primary))),
      reload(scene, primary),
      asSuperuser(scene, primary),
      until(
        scene,
        `SELECT count(*) >= ${acks} FROM pg_stat_replication WHERE sync_state = 'quorum'`,
        'no standby acknowledges',
      ),
      psql(scene, ['SHOW synchronous_standby_names', withRow(PROOF.write, ROWS.second), LOOK_WALSENDERS.sql]),
    ].join('\n'),
  }
}

function removeRow(scene: Scene): Part {
  return {
    title: 'remove the row',
    on: scene.primary.name,
    about: ['The row has said what it was for. That it goes is replicated as well.'],
    shell: [asSuperuser(scene, scene.primary), psql(scene, [PROOF.remove])].join('\n'),
  }
}

function lookAgain(scene: Scene): Part {
  const { primary } = scene
  return {
    title: 'what to look at from now on',
    on: primary.name,
    about: [
      LOOK_WALSENDERS.says,
      LOOK_SLOTS.says,
      `${LOOK_WALRECEIVER.says} (${LOOK_WALRECEIVER.sql.replace(/\s+/g, ' ')})`,
    ],
    shell: [
      asSuperuser(scene, primary),
      psql(scene, looksOf([LOOK_WALSENDERS, LOOK_SLOTS, LOOK_ROLES])),
    ].join('\n'),
  }
}

function looksOf(looks: readonly Look[]): readonly string[] {
  return looks.map(({ sql, psql }) => psql ?? sql)
}

function withRow(sql: string, row = ROWS.first): string {
  return sql.replace('$1', row)
}

function asSuperuser({ config }: Scene, node: ResolvedNode): string {
  return [
    `export PGHOST=${word(node.socketDirectory)} PGPORT=${node.port} PGUSER=${word(config.postgres.superuser)} PGDATABASE=postgres`,
    `export PGPASSFILE=${word(superuserPassfile(node))}`,
  ].join('\n')
}

/** Lines that begin with a backslash or are comments end by themselves. */
function psql(scene: Scene, statements: readonly string[]): string {
  const lines = statements.map((each) => (/^(\\|--)/.test(each) ? each : `${each};`))
  return `${command(program(scene, 'psql'), '-X', '-v', 'ON_ERROR_STOP=1')} <<'END'\n${lines.join('\n')}\nEND`
}

/** Ten seconds: what takes longer does not come by itself. */
function until(scene: Scene, question: string, otherwise: string): string {
  return `for attempt in $(seq 100); do
  test "$(${line(program(scene, 'psql'), '-X', '-A', '-t', '-c', question)})" = t && break
  test "$attempt" = 100 && { echo ${word(otherwise)} >&2; false; }
  sleep 0.1
done`
}
