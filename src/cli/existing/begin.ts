/** Looks at a server, plans what taking it over needs, and writes the journal with which it begins. */
import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { networkInterfaces, tmpdir } from 'node:os'
import path from 'node:path'
import { parseConfig, type ResolvedConfig, resolveConfig } from '../../config/load.ts'
import { UnderstudyError } from '../../errors/codes.ts'
import { readTextIfPresent } from '../../postgres/durable.ts'
import { knownParameters } from '../../postgres/judge-parameters.ts'
import { clusterKeys } from '../../store/keys.ts'
import { composeStore } from '../compose.ts'
import { annotatedConfig, type ConfigValues } from '../config/annotate.ts'
import { etcdDirectory } from '../machines/etcd.ts'
import { homeLayout } from '../machines/home.ts'
import { configValues, etcdNodes, type InitFlags, parseNodes, type StoreFiles } from '../machines/plan.ts'
import { hasSystemd } from '../machines/systemctl.ts'
import { agentUnitName } from '../machines/units.ts'
import { connectTo, type Target } from './connect.ts'
import { lookAtServer, type ServerLook } from './facts.ts'
import { type Journal, newJournal } from './journal.ts'
import { judge, type Refusal, refusal } from './judge.ts'
import { lookAtMachine, type MachineLook } from './machine.ts'
import {
  type ChangedSetting,
  changedSettings,
  changesOf,
  keptValues,
  nodeDirectoryOf,
  type PlannedChange,
  type Wanted,
} from './plan.ts'
import { type SetAside, translateHba, translateIdent, translateSettings } from './translate.ts'

export interface BeginOptions extends InitFlags {
  readonly directory: string
  readonly target: Target
  /** This machine's node; left out: the first of --nodes. */
  readonly node: string | undefined
  readonly bundleDirectory: string
  readonly owner: string | undefined
  readonly endArchiving: boolean
  /** Name in store/ → content. */
  readonly given: ReadonlyMap<string, string>
  readonly storeFiles: StoreFiles
}

export interface ExistingPlan {
  readonly journal: Journal
  readonly server: ServerLook
  readonly machine: MachineLook
  readonly config: ResolvedConfig
  readonly refusals: readonly Refusal[]
  readonly warnings: readonly string[]
  readonly changes: readonly PlannedChange[]
  readonly settings: readonly ChangedSetting[]
  readonly setAside: readonly SetAside[]
  readonly kept: { readonly parameters: number; readonly hba: number }
}

/** Nothing is changed anywhere. Errors: usage, unreachable, auth-failed, not-superuser, config-invalid. */
export async function planExisting(options: BeginOptions): Promise<ExistingPlan> {
  const nodes = parseNodes(options.nodes ?? [])
  const own = options.node === undefined ? nodes[0] : nodes.find(({ name }) => name === options.node)
  if (own === undefined)
    throw new UnderstudyError(
      'usage',
      'under which name and address shall the other nodes reach this server?',
      {
        hint: 'Say --nodes alpha=HOST: the first is this machine; others may follow, now or with `understudy add`.',
      },
    )
  const { server, machine } = await look(options.target)
  const cluster = options.cluster ?? 'main'
  const wanted: Wanted = {
    server,
    machine,
    cluster,
    node: own.name,
    host: own.host,
    hasIPv6: hasIPv6Loopback(),
  }
  const { text, config } = configurationOf(options, wanted)
  const journal = newJournal(
    {
      ...{ cluster, node: own.name, role: 'primary', configText: text },
      ...{ given: Object.fromEntries(options.given), bundleDirectory: options.bundleDirectory },
      nodeDirectory: nodeDirectoryOf(wanted),
    },
    { target: options.target, server, machine },
  )
  const judged = judge({
    server,
    machine,
    hba: translateHba(machine.hbaText),
    ident: translateIdent(machine.identText),
    uid: process.getuid?.() ?? 0,
    owner: options.owner,
    endArchiving: options.endArchiving,
  })
  const others = judged.refusals.some(({ code }) => code === 'not-local')
    ? []
    : [
        ...(await ofStore(options, config)),
        ...(await ofPlaces(journal, options.storeOn?.includes(own.name) === true)),
        ...(await ofParameters(wanted, config)),
      ]
  const places = {
    home: options.directory,
    bundle: options.bundleDirectory,
    unit: hasSystemd() ? agentUnitName({ cluster, node: own.name }) : null,
  }
  const translated = translateSettings(server, { major: server.major, autoConf: machine.autoConf })
  return {
    ...{ journal, server, machine, config },
    refusals: [...judged.refusals, ...others],
    warnings: judged.warnings,
    changes: changesOf(wanted, config, places),
    settings: changedSettings(wanted, config),
    setAside: translated.setAside,
    kept: {
      parameters: Object.keys(translated.parameters).length,
      hba: translateHba(machine.hbaText).lines.length,
    },
  }
}

async function look(target: Target): Promise<{ readonly server: ServerLook; readonly machine: MachineLook }> {
  const client = await connectTo(target, { readOnly: true })
  try {
    const server = await lookAtServer(client)
    return { server, machine: await lookAtMachine(server) }
  } finally {
    await client.end().catch(() => {})
  }
}

function configurationOf(
  options: BeginOptions,
  wanted: Wanted,
): { readonly text: string; readonly config: ResolvedConfig } {
  const values = configValues(options, options.storeFiles)
  const kept = keptValues(wanted)
  const nodes = { ...(values['nodes'] as Readonly<Record<string, ConfigValues>>) }
  nodes[wanted.node] = { ...nodes[wanted.node], ...kept.node }
  // Clients find every node at the port that they know.
  for (const [name, node] of Object.entries(nodes))
    nodes[name] = { ...node, port: node['port'] ?? kept.node['port'] }
  const text = annotatedConfig({ ...values, ...kept.cluster, nodes }, [
    'yaml-language-server: $schema=understudy.schema.json',
    '',
    'A cluster that begins with a server that was there before, written by `understudy init --from`: parameters, lines of pg_hba.conf and',
    'addresses are those of that server. Every key is explained; what is commented out is the default, or an example. After a change:',
    '`understudy config validate --config FILE`, then `understudy push --dir DIR`.',
  ])
  const file = homeLayout(options.directory).configFile
  return { text, config: resolveConfig(parseConfig(text, file), file) }
}

function hasIPv6Loopback(): boolean {
  return Object.values(networkInterfaces()).some(
    (each) => each?.some(({ address }) => address === '::1') === true,
  )
}

const STORE_ANSWER_MS = 5_000

/** The store must be there before anything is begun, and know nothing of this cluster; one that is set up with the node cannot yet. */
async function ofStore(options: BeginOptions, config: ResolvedConfig): Promise<readonly Refusal[]> {
  const layout = homeLayout(options.directory)
  if (etcdNodes(config.store, layout.authority.certificate, config.nodes).length > 0) return []
  // What was given for it is read from a copy: nothing is written into the operator's directory for a look.
  const directory = await mkdtemp(path.join(tmpdir(), 'understudy-store-'))
  try {
    for (const [name, content] of options.given)
      await writeFile(path.join(directory, name), content, { mode: 0o600 })
    const store = await composeStore(readFrom(directory, options.given, config), STORE_ANSWER_MS)
    const found = await store.list(clusterKeys(config.cluster).all)
    store.close()
    if (found.kind === 'ok' && found.value.entries.length === 0) return []
    if (found.kind === 'ok')
      return [refusal('store-taken', `the store knows of a cluster ${config.cluster} already`)]
    const code = found.kind === 'refused' ? found.code : 'store-unreachable'
    return [refusal(code, `the store does not answer: ${found.reason}`)]
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

function readFrom(
  directory: string,
  given: ReadonlyMap<string, string>,
  config: ResolvedConfig,
): ResolvedConfig {
  const at = (name: string, file: string | null): string | null =>
    file !== null && given.has(name) ? path.join(directory, name) : file
  const { store } = config
  return {
    ...config,
    store: {
      ...store,
      caFile: at('ca.crt', store.caFile),
      certFile: at('client.crt', store.certFile),
      keyFile: at('client.key', store.keyFile),
      passwordFile: at('password', store.passwordFile),
    },
  }
}

async function ofPlaces(
  { bundleDirectory, nodeDirectory, node, cluster }: Journal,
  runsEtcd: boolean,
): Promise<readonly Refusal[]> {
  const found: Refusal[] = []
  const present = await readTextIfPresent(path.join(bundleDirectory, 'bundle.json')).catch(() => '?')
  if (present !== null)
    found.push({
      code: 'foreign-data',
      message: `${bundleDirectory} holds a bundle already`,
      hint: `Name another place for the bundle of ${node} of ${cluster}: --bundle-directory DIR.`,
    })
  const etcd = etcdDirectory(cluster)
  if (runsEtcd && (await readdir(etcd).catch(() => [])).length > 0)
    found.push({
      code: 'foreign-data',
      message: `${etcd} holds the data of an etcd already`,
      hint: 'Is it left from a cluster that is gone? Move it away, or choose another name with --cluster.',
    })
  if ((await stat(nodeDirectory).catch(() => null)) !== null)
    found.push({
      code: 'foreign-data',
      message: `${nodeDirectory} is there already`,
      hint: 'Is it left from a cluster that is gone? Move it away, or choose another name with --cluster or --nodes.',
    })
  return found
}

/** Every name must be one that these binaries know, or PostgreSQL would not start: an extension's names are taken as they are. */
async function ofParameters({ machine }: Wanted, config: ResolvedConfig): Promise<readonly Refusal[]> {
  const program = path.join(machine.binDirectory, 'postgres')
  const known = await knownParameters({ postgres: program, env: {} })
  if (known.kind === 'failed') return [refusal('no-binaries', known.reason)]
  return Object.keys(config.postgres.parameters)
    .filter((name) => !name.includes('.') && !known.value.has(name.toLowerCase()))
    .map((name) => refusal('config-invalid', `${program} does not know the parameter ${name}`))
}
