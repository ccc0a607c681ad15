/**
 * The units of the node, enabled before the service of before is put out of work and removed after it is back: whenever the machine goes down
 * in between, a boot finds one that starts the server. Where it finds both, the old one comes first, and the agent waits.
 */
import { existsSync } from 'node:fs'
import { rm, rmdir } from 'node:fs/promises'
import path from 'node:path'
import { etcdDirectory } from '../../machines/etcd.ts'
import { hasSystemd, systemctl, UNIT_DIRECTORY } from '../../machines/systemctl.ts'
import { agentUnitName, etcdUnitName, proxyUnitName } from '../../machines/units.ts'
import type { Journal } from '../journal.ts'
import type { Step } from './step.ts'

export const unitsStep: Step = {
  id: 'units',
  title: ({ journal }) =>
    hasSystemd() ? `${agentUnitName(journal)}: enabled, and not started yet` : 'no systemd, no units',
  async carryOut({ journal }) {
    if (!hasSystemd()) return
    const { installUnits } = await import('../../machines/install-units.ts')
    const config = path.join(journal.bundleDirectory, 'understudy.yaml')
    await installUnits({ config, node: journal.node, startsNow: false })
  },
  async undo({ journal }) {
    if (!hasSystemd()) return
    for (const unit of unitNames(journal).filter(isInstalled)) {
      await systemctl('disable', '--now', unit)
      // The plan was refused where anything lay there: what does now is of this cluster only, and a next one would find it.
      if (unit === etcdUnitName(journal.cluster)) await removeEtcd(journal.cluster)
      await rm(path.join(UNIT_DIRECTORY, unit), { force: true })
    }
    await systemctl('daemon-reload')
  },
}

async function removeEtcd(cluster: string): Promise<void> {
  const directory = etcdDirectory(cluster)
  await rm(directory, { recursive: true, force: true })
  // Unless another node's files are beside it.
  await rmdir(path.dirname(directory)).catch(() => {})
}

/** In the order in which they start. A member of the store that runs beside a standby is not this node's alone. */
export function unitNames(journal: Journal): readonly string[] {
  return [
    ...(journal.role === 'primary' ? [etcdUnitName(journal.cluster)] : []),
    agentUnitName(journal),
    proxyUnitName(journal),
  ]
}

export function isInstalled(unit: string): boolean {
  return existsSync(path.join(UNIT_DIRECTORY, unit))
}
