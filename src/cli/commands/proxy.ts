/**
 * `understudy proxy`: one address for clients, in the foreground, for `up`, systemd and the like. SIGTERM lets transactions end, then the
 * sessions.
 */
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { loadConfig, nodeOf, type ResolvedConfig, type ResolvedNode } from '../../config/load.ts'
import { UnderstudyError } from '../../errors/codes.ts'
import { findUser } from '../../postgres/run-as.ts'
import { composeProxy } from '../compose-proxy.ts'
import { isRoot, runAs } from '../local/privileges.ts'
import { checkPlacement, nodeMeant, readBundleMark } from '../machines/placement.ts'
import { EXIT } from '../output.ts'

export interface ProxyFlags {
  readonly config: string
  /** Left out: the node of the bundle that the configuration lies in; in a local cluster, none. */
  readonly node?: string
}

const DRAIN_MS = 5_000

export async function run(flags: ProxyFlags): Promise<number> {
  const config = await loadConfig(flags.config)
  if (isRoot()) return runAsOwner(config, flags)
  const composed = await composeProxy(config, await placeOf(config, flags))
  const ended = new Promise<void>((resolve) => {
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, () => resolve())
  })
  // The terminal went away: the proxy belongs to its supervisor, not to a terminal.
  process.on('SIGHUP', () => {})
  await composed.start()
  await ended
  await composed.stop(DRAIN_MS)
  return EXIT.done
}

/** Errors: wrong-bundle, wrong-host, unknown-node. */
async function placeOf(config: ResolvedConfig, flags: ProxyFlags): Promise<ResolvedNode | null> {
  const mark = await readBundleMark(config.file)
  if (mark === null && flags.node === undefined) return null
  const node = nodeOf(config, nodeMeant(mark, flags.node))
  await checkPlacement(config, node, mark, config.proxy?.host === undefined ? [] : [config.proxy.host])
  return node
}

/** The configuration's owner is who the cluster was made for, and who may read its secrets. */
async function runAsOwner(config: ResolvedConfig, flags: ProxyFlags): Promise<number> {
  const { uid } = await stat(config.file)
  const user = uid === 0 ? await findUser('postgres') : await findUser(uid)
  if (user === null || user.uid === 0) {
    throw new UnderstudyError(
      'no-unprivileged-user',
      `${config.file} belongs to root, and there is no user postgres`,
    )
  }
  const node = flags.node === undefined ? [] : ['--node', flags.node]
  return runAs(user, ['proxy', '--config', path.resolve(flags.config), ...node], config.file)
}
