/**
 * `understudy proxy`: one address for clients, in the foreground, for `up`, systemd and the like. SIGTERM lets transactions end, then the
 * sessions.
 */
import { loadConfig, nodeOf, type ResolvedConfig, type ResolvedNode } from '../../config/load.ts'
import { composeProxy } from '../compose-proxy.ts'
import { isRoot, runAsOwnerOf } from '../local/privileges.ts'
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
  if (isRoot()) {
    const node = flags.node === undefined ? [] : ['--node', flags.node]
    return runAsOwnerOf(config.file, ['proxy', '--config', config.file, ...node])
  }
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
