/**
 * `understudy add NODE=HOST`: the configuration, a certificate and a bundle for one more node, and the new configuration for the others,
 * which let it in. Each step can be done again, so that an interrupted `add` is completed by the same command.
 */
import type { MemberAnswer } from '../../api/contract.ts'
import { nodeOf, parseConfig, type ResolvedConfig, resolveConfig } from '../../config/load.ts'
import { DEFAULT_PORT } from '../../config/sections/nodes.ts'
import { UnderstudyError } from '../../errors/codes.ts'
import { anyAgent } from '../control-client.ts'
import { type Delivery, deliverBundles, deliveryJson, deliveryLine } from '../machines/deliver.ts'
import { withNode } from '../machines/edit.ts'
import { type Home, openHome, writePrivately } from '../machines/home.ts'
import { type NamedHost, parseNodes } from '../machines/plan.ts'
import { DEFAULT_OWNER, publish } from '../machines/publish.ts'
import { operatorName } from '../operator.ts'
import { EXIT, note, print, printJson } from '../output.ts'
import { exitOf } from './push.ts'

export interface AddOptions {
  /** NAME=HOST or NAME=HOST:PORT. */
  readonly node: string
  readonly dir?: string
  readonly apiPort?: number
  readonly dryRun?: true
  readonly json?: true
}

export async function run(options: AddOptions): Promise<number> {
  const home = await openHome(options.dir)
  const [node] = parseNodes([options.node])
  if (node === undefined) throw new UnderstudyError('usage', 'which node?')
  const { text, config } = withNewNode(home, node, options.apiPort)
  const others = home.config.nodes.map(({ name }) => name).filter((name) => name !== node.name)
  if (options.dryRun === true) return tellPlan(node, others, text, options)
  await writePrivately(home.layout.configFile, text)
  const { bundles } = await publish({ layout: home.layout, config, format: 'tar', owner: DEFAULT_OWNER })
  const file = bundles.find((each) => each.node === node.name)?.file ?? ''
  const deliveries = await deliverBundles({ layout: home.layout, config, only: others })
  // It may have been a node before, and was removed.
  if (exitOf(deliveries) !== EXIT.unreachable) await admit(config, node.name)
  tell(node.name, file, deliveries, options)
  return exitOf(deliveries)
}

/** The same one again is an `add` that was interrupted. Errors: usage, config-invalid. */
function withNewNode(
  { layout, text, config }: Home,
  node: NamedHost,
  apiPort: number | undefined,
): { readonly text: string; readonly config: ResolvedConfig } {
  const known = config.nodes.find(({ name }) => name === node.name)
  if (known !== undefined) {
    if (known.host === node.host && known.port === (node.port ?? DEFAULT_PORT)) return { text, config }
    throw new UnderstudyError(
      'usage',
      `${node.name} is a node of the cluster already, at ${known.host}:${known.port}`,
      {
        hint: 'Give the new one another name, or edit understudy.yaml and run `understudy push`.',
      },
    )
  }
  const next = withNode(text, { ...node, apiPort })
  return { text: next, config: resolveConfig(parseConfig(next, layout.configFile), layout.configFile) }
}

async function admit(config: ResolvedConfig, node: string): Promise<void> {
  const others = { ...config, nodes: config.nodes.filter(({ name }) => name !== node) }
  await anyAgent<MemberAnswer>(others, {
    path: `/v1/members/${nodeOf(config, node).name}`,
    body: { by: operatorName() },
  })
}

function tellPlan(node: NamedHost, others: readonly string[], text: string, { json }: AddOptions): number {
  if (json) printJson({ node: node.name, config: text, told: others, written: false })
  else {
    print(text)
    note(
      `Would be written, with a bundle for ${node.name}, and told to ${others.join(', ')}. Nothing was changed.`,
    )
  }
  return EXIT.done
}

function tell(node: string, file: string, deliveries: readonly Delivery[], { json }: AddOptions): void {
  if (json) {
    printJson({ node, bundle: file, nodes: deliveries.map(deliveryJson) })
    return
  }
  print([
    ...deliveries.map(deliveryLine),
    `bundle         ${file}`,
    '',
    `On ${node}, as root:`,
    `  install -d -m 700 -o postgres /etc/understudy && tar -xzf ${node}.tar.gz -C /etc/understudy`,
    '  understudy systemd --config /etc/understudy/understudy.yaml --install',
  ])
}
