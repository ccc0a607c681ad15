/**
 * `understudy proxy`: one address for clients, in the foreground, for `up`, systemd and the like. SIGTERM lets transactions end, then the
 * sessions; SIGHUP takes over what has changed in its files.
 */
import { loadConfig, nodeOf, type ResolvedConfig, type ResolvedNode } from '../../config/load.ts'
import { isRoot, runAsOwnerOf } from '../local/privileges.ts'
import { checkPlacement, nodeMeant, readBundleMark } from '../machines/placement.ts'
import { EXIT } from '../output.ts'
import { runAlone, runTeam, runWorker, type WorkerPlace, workersOf } from '../proxy-process.ts'

export interface ProxyFlags {
  readonly config: string
  /** Left out: the node of the bundle that the configuration lies in; in a local cluster, none. */
  readonly node?: string
  /** This process is one of several that the proxy has made. */
  readonly worker?: WorkerPlace
}

export async function run(flags: ProxyFlags): Promise<number> {
  const config = await loadConfig(flags.config)
  if (isRoot()) {
    const node = flags.node === undefined ? [] : ['--node', flags.node]
    return runAsOwnerOf(config.file, ['proxy', '--config', config.file, ...node])
  }
  const place = { config, node: await placeOf(config, flags) }
  const workers = workersOf(config)
  if (flags.worker !== undefined) await runWorker(place, flags.worker)
  else if (workers === 1) await runAlone(place)
  else await runTeam(place, workers)
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
