/**
 * `understudy init`: an annotated understudy.yaml, and for each node a bundle to be unpacked on its machine. What is there already is
 * kept, so that an interrupted run is completed by another one, and an edited file is followed by new bundles.
 */
import path from 'node:path'
import { readConfigText } from '../../config/findings.ts'
import { jsonSchema } from '../../config/keys.ts'
import { parseConfig, type ResolvedConfig, resolveConfig } from '../../config/load.ts'
import { UnderstudyError } from '../../errors/codes.ts'
import { readTextIfPresent } from '../../postgres/durable.ts'
import { shellQuote } from '../board.ts'
import { annotatedConfig } from '../config/annotate.ts'
import { type InitOptions, readGiven } from '../machines/given.ts'
import {
  type HomeLayout,
  homeLayout,
  keepCopy,
  makeHomeDirectories,
  refuseForeignHome,
  writePrivately,
} from '../machines/home.ts'
import { configValues, etcdNodes } from '../machines/plan.ts'
import { DEFAULT_OWNER, publish, type WrittenBundle } from '../machines/publish.ts'
import { EXIT, note, print, printJson, warn } from '../output.ts'
import { programName } from '../program-name.ts'

export async function run(options: InitOptions): Promise<number> {
  if (options.undo === true) return (await import('./init-from.ts')).runUndo(options)
  if (options.from !== undefined)
    return (await import('./init-from.ts')).run({ ...options, from: options.from })
  const layout = homeLayout(path.resolve(options.dir ?? `understudy-${options.cluster ?? 'main'}`))
  await refuseForeignHome(layout.directory)
  const present = await readTextIfPresent(layout.configFile)
  if (present !== null) refuseOtherFlags(layout, options)
  const given = await readGiven(options)
  const text = present ?? newConfiguration(options, given)
  const config = resolveConfig(parseConfig(text, layout.configFile), layout.configFile)
  refuseLocal(config)
  const warnings = readConfigText(text).findings.filter(({ severity }) => severity === 'warning')
  for (const { line, key, message } of options.json ? [] : warnings)
    warn(`${layout.configFile}:${line}: ${key}: ${message}`)
  if (options.dryRun) return showPlan(layout, config, text, options)
  await makeHomeDirectories(layout)
  for (const [name, content] of given) await keepCopy(path.join(layout.store, name), content)
  // The bundles follow from it: from here on a run without flags completes what this one leaves.
  if (present === null) await writePrivately(layout.configFile, text)
  await writePrivately(layout.schemaFile, `${JSON.stringify(jsonSchema(), null, 2)}\n`)
  const { bundles, issued } = await publish({
    layout,
    config,
    format: options.format,
    owner: options.owner ?? DEFAULT_OWNER,
  })
  tell(layout, config, { bundles, issued, warnings: warnings.map(({ message }) => message) }, options)
  return EXIT.done
}

const CONFIGURING = [
  'cluster',
  'nodes',
  'store',
  'storeOn',
  'storeUser',
  'storeCa',
  'storeCert',
  'storeKey',
  'storePasswordFile',
  'durability',
  'rto',
  'pg',
  'port',
  'apiPort',
  'proxyPort',
] as const

/** The file is what counts from its first writing on. */
function refuseOtherFlags(layout: HomeLayout, options: InitOptions): void {
  const given = CONFIGURING.find((name) => options[name] !== undefined && name !== 'cluster')
  if (given === undefined) return
  throw new UnderstudyError('flags-differ', `${layout.configFile} exists already`, {
    hint: 'Edit it and run `understudy init --dir DIR` without other flags to make new bundles, or name another directory.',
  })
}

/** What `up` does better: parts of one machine find each other by 127.0.0.1, and need no bundles. */
function refuseLocal({ store, nodes }: ResolvedConfig): void {
  if (store.tokenFile === null) return
  throw new UnderstudyError(
    'config-invalid',
    `the embedded store (store.tokenFile) serves one machine, not ${nodes.length}`,
    {
      hint: 'Name an etcd: --store https://HOST:2379, or --store-on NODE,NODE,NODE.',
    },
  )
}

function newConfiguration(options: InitOptions, given: ReadonlyMap<string, string>): string {
  const files = {
    ca: given.has('ca.crt'),
    certificate: given.has('client.crt'),
    password: given.has('password'),
  }
  return annotatedConfig(configValues(options, files), [
    'yaml-language-server: $schema=understudy.schema.json',
    '',
    'A cluster on several machines, written by `understudy init`. Every key is explained; what is commented out is the default, or an',
    'example. After a change: `understudy config validate --config FILE`, then `understudy init --dir DIR` makes new bundles.',
  ])
}

function showPlan(
  layout: HomeLayout,
  config: ResolvedConfig,
  text: string,
  { json, format }: InitOptions,
): number {
  const bundles = config.nodes.map(({ name }) =>
    path.join(layout.bundles, format === 'tar' ? `${name}.tar.gz` : name),
  )
  if (json)
    printJson({
      directory: layout.directory,
      configFile: layout.configFile,
      bundles,
      authorityKey: layout.authority.key,
      config: text,
      written: false,
    })
  else {
    print(text)
    note(`Would be written to ${layout.configFile}, with ${bundles.join(', ')}. Nothing was written.`)
  }
  return EXIT.done
}

interface Told {
  readonly bundles: readonly WrittenBundle[]
  readonly issued: readonly string[]
  readonly warnings: readonly string[]
}

function tell(layout: HomeLayout, config: ResolvedConfig, told: Told, { json, format }: InitOptions): void {
  const { directory, configFile, authority } = layout
  if (json) {
    printJson({
      directory,
      configFile,
      bundles: told.bundles,
      issued: told.issued,
      authorityKey: authority.key,
      warnings: told.warnings,
      written: true,
    })
    return
  }
  const program = programName(process.argv, process.env)
  const shown = (file: string): string => path.relative(process.cwd(), file) || '.'
  const etcd = etcdNodes(config.store, authority.certificate, config.nodes).map(({ name }) => name)
  const [first] = told.bundles
  const unpack =
    format === 'tar'
      ? `tar -xzf ${path.basename(first?.file ?? '')} -C /etc/understudy`
      : `cp -a ${path.basename(first?.file ?? '')}/. /etc/understudy/`
  print([
    `configuration  ${shown(configFile)}`,
    ...told.bundles.map(
      ({ node, file }) =>
        `bundle         ${shown(file)}${told.issued.includes(node) ? '  (new certificate)' : ''}`,
    ),
    '',
    `The key of the cluster's authority stays here, in ${shown(authority.key)}: it is needed for new nodes and new certificates, and no`,
    'node may have it. A bundle holds passwords: copy it to its node and to nowhere else.',
    '',
    `On each node, as root, with its own bundle (here: ${first?.node ?? ''}):`,
    `  install -d -m 700 -o postgres /etc/understudy && ${unpack}`,
    '  understudy doctor --config /etc/understudy/understudy.yaml',
    '  understudy systemd --config /etc/understudy/understudy.yaml --install',
    ...(etcd.length === 0
      ? []
      : [
          '',
          `The store is etcd on ${etcd.join(', ')}: those need the package etcd-server; its unit is installed with the agent's.`,
        ]),
    '',
    `Then, from here: ${program} status --config ${shellQuote(shown(configFile))}`,
  ])
}
