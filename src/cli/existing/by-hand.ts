/** What a person does with a server that understudy manages no more. Pure. */
import path from 'node:path'
import type { ReleaseAnswer } from '../../api/contract.ts'
import type { ResolvedConfig } from '../../config/load.ts'
import { AGENT_ROLE, PROXY_ROLE } from '../../postgres/layout.ts'
import { shellQuote } from '../board.ts'
import { etcdDirectory } from '../machines/etcd.ts'
import { agentUnitName, etcdUnitName, proxyUnitName } from '../machines/units.ts'
import { ROOT_ROLE } from './names.ts'
import { guardedName } from './plan.ts'

export function byHand(
  { cluster, proxy }: Pick<ResolvedConfig, 'cluster' | 'proxy'>,
  released: ReleaseAnswer,
  /** An etcd of the cluster's own runs there. */
  withEtcd: boolean,
): readonly string[] {
  const { node, role, service } = released
  return [
    `${node} (${role}), as root on its machine:`,
    `  systemctl disable --now ${agentUnitName({ cluster, node })}      # the agent has ended; PostgreSQL goes on`,
    ...(proxy === null
      ? []
      : [
          `  systemctl disable --now ${proxyUnitName({ cluster, node })}      # nobody tells it of the primary any more`,
        ]),
    ...(withEtcd
      ? [
          `  systemctl disable --now ${etcdUnitName(cluster)}      # the store of this cluster; its data is in ${etcdDirectory(cluster)}`,
        ]
      : []),
    ...(service === null ? ownStart(released) : formerService(released, service)),
  ]
}

function ownStart({ dataDirectory, configFile, binDirectory }: ReleaseAnswer): readonly string[] {
  const program = path.join(binDirectory, 'postgres')
  return [
    `  a unit of your own starts it: ${[program, '-D', dataDirectory, '-c', `config_file=${configFile}`].map(shellQuote).join(' ')}`,
  ]
}

/** One line at the end of its own configuration, where the last one wins: everything that it runs with now, replication included. */
function formerService(
  { configFile, dataDirectory }: ReleaseAnswer,
  { kind, cluster, startFile, startMode, configDirectory, unit }: NonNullable<ReleaseAnswer['service']>,
): readonly string[] {
  const main = shellQuote(path.join(configDirectory, 'postgresql.conf'))
  const moveBack = `  mv ${shellQuote(guardedName(startFile))} ${shellQuote(startFile)}`
  const include = `  echo "include '${configFile.replaceAll("'", "''")}'" >> ${main}`
  if (kind === 'plain')
    return [
      moveBack,
      include,
      ...(unit?.isEnabled === true ? [`  systemctl enable ${unit.name}`] : []),
      `  pg_ctl stop -m fast -D ${shellQuote(dataDirectory)}      # when it is convenient; then its service starts it (pg_ctl restart would keep the old words)`,
      ...(unit ? [`  systemctl start ${unit.name}`] : []),
    ]
  return [
    include,
    `  echo ${startMode} > ${shellQuote(startFile)}`,
    // Not in one word: systemd would find a unit that does not run, and start it beside the server.
    `  pg_ctlcluster ${cluster ?? ''} stop -m fast      # when a restart is convenient`,
    `  pg_ctlcluster ${cluster ?? ''} start             # from then on it is Debian's`,
  ]
}

/** What no plain replication needs. A role that owns something, or was granted something, cannot be dropped alone. */
export function roleStatementsByHand(superuser: string): readonly string[] {
  const needless = [AGENT_ROLE, PROXY_ROLE, ...(superuser === ROOT_ROLE ? [ROOT_ROLE] : [])].join(', ')
  return [`DROP OWNED BY ${needless};`, `DROP ROLE ${needless};`]
}
