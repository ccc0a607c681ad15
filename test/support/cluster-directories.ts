/** Data directories that do not belong to a cluster, servers that nobody of it started, and whether anything in one was touched. */
import { createHash } from 'node:crypto'
import { lstatSync, readdirSync } from 'node:fs'
import path from 'node:path'
import type { TestCluster } from './cluster-harness.ts'
import { installOf } from './postgres-installs.ts'

/** What initdb makes; belongs to whom the cluster belongs. */
export function makeForeignDirectory(cluster: TestCluster, name: string, major: number): string {
  const directory = path.join(cluster.workspace, 'c', name)
  const initdb = path.join(installOf(major).binDirectory, 'initdb')
  const options = ['-U', 'postgres', '-E', 'UTF8', '--locale=C.UTF-8', '-k', '-N', '-A', 'trust']
  cluster.runAsOwner(initdb, ['-D', directory, ...options])
  return directory
}

/** Names, sizes and times of everything below: equal when nothing was written. Access changes nothing of it. */
export function fingerprint(directory: string): string {
  const hash = createHash('sha256')
  for (const name of readdirSync(directory, { recursive: true, encoding: 'utf8' }).sort()) {
    const facts = lstatSync(path.join(directory, name), { throwIfNoEntry: false })
    if (facts?.isFile()) hash.update(`${name}\0${facts.size}\0${facts.mtimeMs}\n`)
  }
  return hash.digest('hex')
}
