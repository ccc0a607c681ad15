/** The stations that only look: how each step of the set-up is done, and what the running cluster says of it. */
import type { ClusterEvent } from '../../api/contract.ts'
import type { ResolvedNode } from '../../config/load.ts'
import { baseSettings, renderSettings } from '../../postgres/base-configuration.ts'
import { replicationSettings } from '../../postgres/configuration.ts'
import { renderHbaRules, takenHbaLines } from '../../postgres/hba.ts'
import { nodeLayout, REPLICATION_ROLE } from '../../postgres/layout.ts'
import { askEvents } from '../api-client.ts'
import { baseBackup, createSlot, initdb, program, roleSql, start, verifyBackup } from '../by-hand/commands.ts'
import {
  LOOK_HBA,
  LOOK_ROLES,
  LOOK_SLOTS,
  LOOK_VERIFIERS,
  LOOK_WALRECEIVER,
  LOOK_WALSENDERS,
  lookAtSettings,
} from '../by-hand/looks.ts'
import { inputFor, replicationOf, type Scene } from '../by-hand/scene.ts'
import { command } from '../by-hand/shell.ts'
import type { Sight } from './sight.ts'
import { LOOKS_ONLY, type Row, type Seen, type Station } from './station.ts'

export function lookStations(sight: Sight): readonly Station[] {
  return [
    prerequisites(sight),
    replicationRole(sight),
    primarySettings(sight),
    baseBackups(sight),
    standbySettings(sight),
    streaming(sight),
  ]
}

const LOOK_SERVER = `SELECT current_setting('server_version') AS version, current_setting('data_checksums') AS checksums,
       system_identifier, pg_is_in_recovery() AS standby
  FROM pg_control_system()`

function prerequisites(sight: Sight): Station {
  return {
    id: 'prerequisites',
    title: 'Prerequisites',
    tell: async () => {
      const scene = await sight.scene()
      return {
        why: [
          'Physical replication copies blocks of data and WAL: every server runs the same major version of PostgreSQL, on the same kind of machine.',
          'The first server is made by initdb, with data checksums so that damage is seen. The others are copies of it, never an initdb of their own: by its system_identifier a server knows whose WAL it may take.',
        ],
        typed: [
          { kind: 'command', on: scene.primary.name, text: command(program(scene, 'postgres'), '--version') },
          { kind: 'command', on: scene.primary.name, text: initdb(scene) },
        ],
        look: [
          'pg_control_system(): the same system_identifier on every server. pg_is_in_recovery(): true on a standby.',
        ],
        ...LOOKS_ONLY,
      }
    },
    visit: async () => ({ seen: await ofEveryNode(sight, LOOK_SERVER) }),
  }
}

function replicationRole(sight: Sight): Station {
  return {
    id: 'replication-role',
    title: 'The replication user',
    tell: async () => {
      const scene = await sight.scene()
      const statements = roleSql(scene, () => "'…'").filter(({ role }) => role === 'replication')
      return {
        why: [
          ...statements.map(({ why }) => why),
          'Its password is 256 random bits in a file that only the owner of the servers can read. In psql it is set with \\password, so that it stands in no history and no log.',
        ],
        typed: statements.map(
          ({ sql }) => ({ kind: 'sql', on: scene.primary.name, text: `${sql};` }) as const,
        ),
        look: [`${LOOK_ROLES.psql ?? ''} in psql: ${LOOK_ROLES.says}`, LOOK_VERIFIERS.says],
        ...LOOKS_ONLY,
      }
    },
    visit: async () => {
      const { primary } = await sight.scene()
      return { seen: await looks(sight, primary, [LOOK_ROLES.sql, LOOK_VERIFIERS.sql]) }
    },
  }
}

/** Those that make replication possible; each stands in baseSettings with its reason. */
function replicationGroup(scene: Scene): ReturnType<typeof baseSettings>[number]['settings'] {
  const groups = baseSettings(inputFor(scene, scene.primary))
  return groups.find(({ settings }) => settings.some(({ name }) => name === 'wal_level'))?.settings ?? []
}

function primarySettings(sight: Sight): Station {
  return {
    id: 'primary-configuration',
    title: 'The primary’s configuration',
    tell: async () => {
      const scene = await sight.scene()
      const { members, extraHba, ownAccess } = inputFor(scene, scene.primary)
      const { confDir, configFile } = nodeLayout(scene.primary.directory)
      const rules = renderHbaRules(members, takenHbaLines(extraHba), ownAccess ?? null)
        .split('\n')
        .filter((line) => line.includes(REPLICATION_ROLE))
      return {
        why: [
          'Every server has these settings, so that any of them can be the primary. Each has its reason above it.',
          'pg_hba.conf lets the replication role in from exactly the members, over TLS, and from nowhere else. The first line that matches decides.',
        ],
        typed: [
          {
            kind: 'file',
            on: scene.primary.name,
            path: configFile,
            text: renderSettings(replicationGroup(scene)),
          },
          { kind: 'file', on: scene.primary.name, path: `${confDir}/pg_hba.conf`, text: rules.join('\n') },
          { kind: 'sql', on: scene.primary.name, text: 'SELECT pg_reload_conf();' },
        ],
        look: [`pg_settings: ${lookAtSettings([]).says}`, `pg_hba_file_rules: ${LOOK_HBA.says}`],
        ...LOOKS_ONLY,
      }
    },
    visit: async () => {
      const scene = await sight.scene()
      const names = replicationGroup(scene).map(({ name }) => name)
      return { seen: await looks(sight, scene.primary, [lookAtSettings(names).sql, LOOK_HBA.sql]) }
    },
  }
}

function baseBackups(sight: Sight): Station {
  return {
    id: 'base-backup',
    title: 'The base backup',
    tell: async () => {
      const scene = await sight.scene()
      const [standby] = scene.standbys
      return {
        why: [
          'A slot for each standby makes the primary keep the WAL that this standby has not taken yet, also while it is being copied.',
          'The copy is made over the replication protocol while the primary goes on working, with the WAL of the meantime beside it, and held against its manifest. The password is in a passfile: host:port:database:user:password, readable by its owner only.',
        ],
        typed: [
          ...scene.standbys.map(
            (node) => ({ kind: 'sql', on: scene.primary.name, text: `${createSlot(node)};` }) as const,
          ),
          ...(standby === undefined
            ? []
            : ([
                { kind: 'command', on: standby.name, text: baseBackup(scene, standby) },
                { kind: 'command', on: standby.name, text: verifyBackup(scene, standby) },
              ] as const)),
        ],
        look: [
          'pg_stat_progress_basebackup on the primary, while a copy is under way.',
          `pg_replication_slots: ${LOOK_SLOTS.says}`,
        ],
        ...LOOKS_ONLY,
      }
    },
    visit: async () => {
      const { primary, standbys } = await sight.scene()
      const copies = await eventsOf(standbys, ['cloned'], sight)
      return {
        seen: [
          ...(await looks(sight, primary, [LOOK_SLOTS.sql])),
          ...(copies.length === 0
            ? []
            : [{ on: null, asked: 'what the agents have noted of copies', rows: [], lines: copies }]),
        ],
      }
    },
  }
}

function standbySettings(sight: Sight): Station {
  return {
    id: 'standby-configuration',
    title: 'The secondary’s configuration',
    tell: async () => {
      const scene = await sight.scene()
      const [standby] = scene.standbys
      const { synchronousNames } = await namesCarried(sight, standby)
      const files =
        standby === undefined
          ? []
          : ([
              {
                kind: 'file',
                on: standby.name,
                path: `${nodeLayout(standby.directory).confDir}/replication.conf`,
                text: replicationSettings(
                  inputFor(scene, standby),
                  replicationOf(scene, standby, synchronousNames),
                )
                  .map((setting) => renderSettings([setting]))
                  .join('\n'),
              },
              {
                kind: 'command',
                on: standby.name,
                text: command('touch', `${nodeLayout(standby.directory).dataDir}/standby.signal`),
              },
            ] as const)
      return {
        why: [
          'What makes a copy a standby (the manual’s word for a secondary) is the empty file standby.signal in its data directory. From whom it streams is primary_conninfo; there is no password in it, but the name of a passfile.',
          'All other settings are those of the primary: when this node is the primary one day, nothing has to be changed first.',
        ],
        typed: files,
        look: [
          'pg_settings on the standby. A superuser sees primary_conninfo there, and so does pg_monitor.',
        ],
        ...LOOKS_ONLY,
      }
    },
    visit: async () => {
      const { standbys } = await sight.scene()
      const names = ['primary_conninfo', 'primary_slot_name', 'hot_standby', 'synchronous_standby_names']
      const { sql } = lookAtSettings(names, ['setting'])
      const seen = standbys.slice(0, 1).map(({ name }) => sight.look(name, sql))
      return { seen: await Promise.all(seen) }
    },
  }
}

async function namesCarried(
  sight: Sight,
  standby: ResolvedNode | undefined,
): Promise<{ readonly synchronousNames: string }> {
  if (standby === undefined) return { synchronousNames: '' }
  const [row] = await sight.query(standby.name, 'SHOW synchronous_standby_names')
  return { synchronousNames: row?.['synchronous_standby_names'] ?? '' }
}

function streaming(sight: Sight): Station {
  return {
    id: 'start',
    title: 'Starting the secondary',
    tell: async () => {
      const scene = await sight.scene()
      return {
        why: [
          'At its start the standby replays what came with the copy, answers queries as soon as that is consistent, connects to the primary, and streams.',
        ],
        typed: scene.standbys
          .slice(0, 1)
          .map((node) => ({ kind: 'command', on: node.name, text: start(scene, node) }) as const),
        look: [
          `pg_stat_replication: ${LOOK_WALSENDERS.says}`,
          `pg_stat_wal_receiver: ${LOOK_WALRECEIVER.says}`,
        ],
        ...LOOKS_ONLY,
      }
    },
    visit: async () => ({ seen: await streams(sight) }),
  }
}

/** Both ends of every stream. */
export async function streams(sight: Sight): Promise<readonly Seen[]> {
  const { primary, standbys } = await sight.scene()
  return [
    ...(await looks(sight, primary, [LOOK_WALSENDERS.sql])),
    ...(await Promise.all(standbys.map(({ name }) => sight.look(name, LOOK_WALRECEIVER.sql)))),
  ]
}

async function looks(
  sight: Sight,
  { name }: ResolvedNode,
  queries: readonly string[],
): Promise<readonly Seen[]> {
  const seen: Seen[] = []
  for (const sql of queries) seen.push(await sight.look(name, sql))
  return seen
}

/** The same question to all, as one table with the node before each row. */
async function ofEveryNode(sight: Sight, sql: string): Promise<readonly Seen[]> {
  const rows = await Promise.all(
    sight.cluster.config.nodes.map(
      async ({ name }): Promise<readonly Row[]> =>
        (await sight.query(name, sql)).map((row) => ({ node: name, ...row })),
    ),
  )
  return [{ on: null, asked: sql, rows: rows.flat(), lines: [] }]
}

/** As far as the agents still have them; newest last. */
export async function eventsOf(
  nodes: readonly ResolvedNode[],
  kinds: readonly string[],
  sight: Sight,
  since = '',
): Promise<readonly string[]> {
  const answers = await Promise.all(nodes.map((node) => askEvents(node, { signal: sight.signal })))
  return answers
    .flatMap((answer): readonly ClusterEvent[] => (answer.kind === 'ok' ? answer.value : []))
    .filter((event) => kinds.includes(event.kind) && event.at >= since)
    .sort((a, b) => a.at.localeCompare(b.at))
    .map(({ at, node, message }) => `${at}  ${node}: ${message}`)
}
