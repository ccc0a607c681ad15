/** What taking over a server would do: the cluster's configuration, and every change with its reason, its price and its way back. Pure. */
import path from 'node:path'
import { nodeOf, type ResolvedConfig } from '../../config/load.ts'
import { baseSettings, userSet } from '../../postgres/base-configuration.ts'
import { AGENT_ROLE, PROXY_ROLE, REPLICATION_ROLE } from '../../postgres/layout.ts'
import { valueText } from '../../postgres/setting-text.ts'
import { LEAST_WALSENDERS, NEEDED_WALSENDERS } from '../../postgres/sizing.ts'
import type { ConfigValues } from '../config/annotate.ts'
import { inputOf } from '../config/explain.ts'
import type { ServerLook } from './facts.ts'
import { socketsOf } from './judge.ts'
import type { MachineLook } from './machine.ts'
import { ROOT_ROLE } from './names.ts'
import { translateHba, translateIdent, translateListen, translateSettings } from './translate.ts'

export interface PlannedChange {
  readonly what: string
  readonly why: string
  readonly needsRestart: boolean
  readonly undo: string
}

export interface ChangedSetting {
  readonly name: string
  readonly from: string
  readonly to: string
  readonly why: string
}

export interface Wanted {
  readonly server: ServerLook
  readonly machine: MachineLook
  readonly cluster: string
  /** This machine's. */
  readonly node: string
  readonly host: string
  readonly hasIPv6: boolean
}

/** Beside the data, on the same file system: a new clone must fit, and takes its place by a rename. */
export function nodeDirectoryOf({
  machine,
  cluster,
  node,
}: Pick<Wanted, 'machine' | 'cluster' | 'node'>): string {
  return path.join(path.dirname(machine.dataDirectory), `understudy-${cluster}-${node}`)
}

/** What the server's own configuration says, as values of understudy.yaml: of the whole cluster, and of this node. */
export function keptValues(wanted: Wanted): { readonly cluster: ConfigValues; readonly node: ConfigValues } {
  const { server, machine, host, hasIPv6 } = wanted
  const setting = (name: string): string => server.settings.get(name) ?? ''
  const [socketDirectory] = socketsOf(server)
  const translated = translateSettings(server, { major: server.major, autoConf: machine.autoConf })
  const ident = translateIdent(machine.identText).lines
  return {
    cluster: {
      postgres: {
        binaries: machine.binDirectory,
        parameters: { ...walsendersOf(server), ...translated.parameters },
        hba: translateHba(machine.hbaText).lines,
        clientAccess: 'own',
        ...(ident.length > 0 && { ident }),
        superuser: ROOT_ROLE,
      },
      application: { database: server.database, user: server.databaseOwner, managed: false },
    },
    node: {
      host,
      port: Number(setting('port')),
      directory: nodeDirectoryOf(wanted),
      ...(socketDirectory !== undefined && { socketDirectory }),
      listen: translateListen(setting('listen_addresses'), { host, hasIPv6 }),
    },
  }
}

/** As many as it has, where that is enough: the replay of standbys that have fewer than their primary pauses (manual: 27.4.3). */
function walsendersOf({ settings }: ServerLook): Readonly<Record<string, number>> {
  const has = Number(settings.get('max_wal_senders'))
  return has >= LEAST_WALSENDERS && has < NEEDED_WALSENDERS ? { max_wal_senders: has } : {}
}

/** Those that understudy needs and that are others now. Values are compared as texts: 60s and 1min are told as a change. */
export function changedSettings(
  { server, machine, node }: Wanted,
  config: ResolvedConfig,
): readonly ChangedSetting[] {
  const input = inputOf(config, nodeOf(config, node), server.major, machine.diskBytes)
  const set = userSet(input)
  return baseSettings(input)
    .flatMap(({ settings }) => settings)
    .filter(({ name, yields }) => yields !== true || !set.has(name))
    .filter(({ name }) => !TOLD_OTHERWISE.has(name))
    .map(({ name, value, why }) => ({
      name,
      why,
      to: shown(valueText(value)),
      from: server.settings.get(name) ?? '',
    }))
    .filter(({ name, from, to }) => from !== to && server.settings.has(name) && !sameList(from, to))
}

/** Where its files and certificates are: said in a sentence of their own. */
const TOLD_OTHERWISE = new Set([
  ...['hba_file', 'ident_file', 'ssl', 'ssl_cert_file', 'ssl_key_file', 'ssl_ca_file', 'log_directory'],
  ...['log_filename', 'log_destination', 'logging_collector', 'log_rotation_age', 'log_rotation_size'],
  ...['log_truncate_on_rotation', 'log_file_mode', 'unix_socket_directories', 'cluster_name', 'port'],
])

function shown(text: string): string {
  return text === 'true' ? 'on' : text === 'false' ? 'off' : text
}

function sameList(a: string, b: string): boolean {
  return a.replace(/[\s"]/g, '') === b.replace(/[\s"]/g, '')
}

export interface Places {
  /** Where the operator's files go. */
  readonly home: string
  /** Where this node's bundle goes. */
  readonly bundle: string
  /** What starts the agent. */
  readonly unit: string | null
}

/** In the order in which they happen. */
export function changesOf(wanted: Wanted, config: ResolvedConfig, places: Places): readonly PlannedChange[] {
  const { machine, node } = wanted
  const { directory } = nodeOf(config, node)
  return [
    change(
      `write the configuration, secrets and certificates of the cluster ${config.cluster} into ${places.home}, and the bundle of ${node} into ${places.bundle}`,
      'the settings, lines of pg_hba.conf and addresses of the server are in it, so that every node has them',
      'the two directories are removed',
    ),
    change(
      `create the roles ${REPLICATION_ROLE}, ${AGENT_ROLE} and ${ROOT_ROLE}`,
      `standbys stream as the first, agents look as the second; pg_rewind and \`rotate\` need a superuser, which may come from the nodes only. Once it runs, the agent makes ${PROXY_ROLE}, which proxies ask as. No role of yours is touched`,
      'DROP OWNED BY and DROP ROLE for each',
    ),
    change(
      `make ${directory}, with a link to ${machine.dataDirectory}`,
      'the data stays where it lies; the agent’s configuration, logs and state are beside it',
      `${directory} is removed`,
    ),
    ...(places.unit === null
      ? []
      : [
          change(
            `write and enable ${places.unit}`,
            'whenever the machine goes down from here on, a boot finds a unit that starts the server; where it finds both, the one of before starts it',
            'it is removed, when the service of before is back',
          ),
        ]),
    guardChange(machine),
    change(
      places.unit === null ? `start the agent of ${node}` : `start ${places.unit}`,
      'it looks after the server from then on; until then it only waits',
      'it is ended',
    ),
    {
      what: 'stop the server and start it again, by the agent',
      why: 'it begins anew with the cluster’s configuration; connections are ended, as by any restart',
      needsRestart: true,
      undo: 'another restart, with the configuration of before',
    },
  ]
}

function change(what: string, why: string, undo: string): PlannedChange {
  return { what, why, undo, needsRestart: false }
}

function guardChange({ manager, startFile, startText, unit }: MachineLook): PlannedChange {
  const why = 'two managers of one server would start it against each other'
  if (manager.kind === 'debian')
    return change(
      `write \`disabled\` into ${startFile}`,
      `${why}: Debian’s tools start it neither at boot nor by hand`,
      `\`${startModeOf(startText)}\` is written there again`,
    )
  return change(
    `rename ${startFile} to ${guardedName(startFile)}${unit?.isEnabled === true ? `, and disable ${unit.name}` : ''}`,
    why,
    'it gets its name again',
  )
}

/** auto, manual or disabled (pg_createcluster(1)). */
export function startModeOf(text: string | null): string {
  const line = (text ?? '').split('\n').find((each) => /^\s*[a-z]/.test(each))
  return line?.trim() ?? 'auto'
}

export function guardedName(startFile: string): string {
  return `${startFile}.before-understudy`
}
