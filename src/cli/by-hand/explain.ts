/** `up --explain` and `agent --explain`: which set-up is meant, then the script of it, as text or as data. */
import path from 'node:path'
import { stringify } from 'yaml'
import { loadConfig, nodeOf, parseConfig, type ResolvedConfig, resolveConfig } from '../../config/load.ts'
import { chooseRunAs } from '../../postgres/run-as.ts'
import { CONFIG_NAME, namedDirectory, openCluster, readSettings, realDirectory } from '../local/open.ts'
import { demand, newSettings, refuseOtherFlags, renderConfig, type UpFlags } from '../local/prepare.ts'
import { isRoot, PACKAGE_ROOT, reachablePlace } from '../local/privileges.ts'
import { readBundleMark } from '../machines/placement.ts'
import { parseNodes } from '../machines/plan.ts'
import { EXIT, print, printJson } from '../output.ts'
import { sceneOf, withCache } from './gather.ts'
import { renderScript } from './script.ts'
import { type Section, sectionsOf } from './sections.ts'

/** Everything that the servers need lies below it, so that a person has one directory to look into. */
const REMOTE_DIRECTORY = '/var/lib/understudy/main'

export interface ExplainUpOptions extends UpFlags {
  readonly data?: string
  /** NAME=HOST of each server; left out: as `up` would do it on this machine. */
  readonly on?: readonly string[]
  readonly json: boolean
}

/** Errors: flags-differ, no-binaries, unsupported-version, usage. */
export async function explainUp(options: ExplainUpOptions): Promise<number> {
  const config = options.on === undefined ? await localConfig(options) : remoteConfig(options, options.on)
  return tell(config, { pg: options.pg, here: null, node: null, json: options.json })
}

export interface ExplainAgentOptions {
  readonly config: string
  readonly node?: string
  readonly json: boolean
}

/** Errors: not-found, config-invalid, unknown-node, no-permission. */
export async function explainAgent(options: ExplainAgentOptions): Promise<number> {
  const config = await loadConfig(options.config)
  const mark = await readBundleMark(config.file)
  const node = options.node === undefined ? null : nodeOf(config, options.node).name
  return tell(config, { pg: undefined, here: mark?.node ?? null, node, json: options.json })
}

interface TellOptions {
  readonly pg: string | undefined
  readonly here: string | null
  /** Only what is typed on this node's server; null: everything. */
  readonly node: string | null
  readonly json: boolean
}

async function tell(config: ResolvedConfig, { pg, here, node, json }: TellOptions): Promise<number> {
  const scene = await sceneOf(config, { pg, here })
  const sections = sectionsOf(scene).filter(({ on }) => node === null || on === node)
  if (json) printJson(asData(config, scene, sections))
  else print(renderScript(scene, sections))
  return EXIT.done
}

function asData(
  config: ResolvedConfig,
  {
    major,
    binDir,
    primary,
  }: { readonly major: number; readonly binDir: string; readonly primary: { readonly name: string } },
  sections: readonly Section[],
): object {
  const nodes = config.nodes.map(({ name, host, port, directory }) => ({ name, host, port, directory }))
  return { cluster: config.cluster, major, binDir, primary: primary.name, nodes, sections }
}

/** The cluster that is there, else the one that `up` would make. */
async function localConfig(options: ExplainUpOptions): Promise<ResolvedConfig> {
  const named = namedDirectory(options)
  const known = await readSettings(await realDirectory(named))
  if (known !== null) {
    refuseOtherFlags(known, options)
    return (await openCluster({ data: named })).config
  }
  const settings = await withCache((cacheDir) => newSettings(options, cacheDir))
  const user = isRoot() ? demand(await chooseRunAs({ checkout: PACKAGE_ROOT })) : null
  const directory = user === null ? named : await reachablePlace(named, user)
  const file = path.join(directory, CONFIG_NAME)
  return resolveConfig(parseConfig(renderConfig(directory, settings), file), file)
}

/** By hand there are no store and no agents, but a configuration has them. Errors: usage, config-invalid. */
function remoteConfig(options: ExplainUpOptions, servers: readonly string[]): ResolvedConfig {
  const nodes = parseNodes(servers, '--on').map(({ name, host, port }, index) => [
    name,
    // Nobody listens on an agent's port here; two nodes of one machine must not have the same.
    { host, ...(port !== undefined && { port }), apiPort: 8008 + index, directory: name },
  ])
  const text = stringify({
    cluster: 'main',
    ...(options.durability !== undefined && { durability: options.durability }),
    ...(options.rto !== undefined && { rto: options.rto }),
    store: { endpoints: ['http://127.0.0.1:2379'] },
    nodes: Object.fromEntries(nodes) as Record<string, unknown>,
  })
  const file = path.join(REMOTE_DIRECTORY, CONFIG_NAME)
  return resolveConfig(parseConfig(text, file), file)
}
