/** What a person does with a server that understudy manages no more. Pure. */
import path from 'node:path'
import type { ReleaseAnswer } from '../../api/contract.ts'
import { shellQuote } from '../board.ts'
import { agentUnitName } from '../machines/units.ts'
import { guardedName } from './plan.ts'

export function byHand(cluster: string, released: ReleaseAnswer): readonly string[] {
  const { node, role, service } = released
  return [
    `${node} (${role}), as root on its machine:`,
    `  systemctl disable --now ${agentUnitName({ cluster, node })}      # the agent has ended; PostgreSQL goes on`,
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
  { kind, cluster, startFile, startMode, configDirectory }: NonNullable<ReleaseAnswer['service']>,
): readonly string[] {
  const main = shellQuote(path.join(configDirectory, 'postgresql.conf'))
  const moveBack = `  mv ${shellQuote(guardedName(startFile))} ${shellQuote(startFile)}`
  const include = `  echo "include '${configFile.replaceAll("'", "''")}'" >> ${main}`
  if (kind === 'plain')
    return [
      moveBack,
      include,
      `  pg_ctl stop -m fast -D ${shellQuote(dataDirectory)}      # when it is convenient; then its service starts it (pg_ctl restart would keep the old words)`,
    ]
  return [
    include,
    `  echo ${startMode} > ${shellQuote(startFile)}`,
    `  pg_ctlcluster ${cluster ?? ''} restart      # when a restart is convenient: from then on it is Debian's`,
  ]
}
