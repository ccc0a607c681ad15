/** `understudy push`: what `init` has written goes to the nodes that run, which take it over without interrupting PostgreSQL. */
import { nodeOf } from '../../config/load.ts'
import { type Delivery, deliverBundles, deliveryJson, deliveryLine } from '../machines/deliver.ts'
import { openHome } from '../machines/home.ts'
import { DEFAULT_OWNER, publish } from '../machines/publish.ts'
import { EXIT, print, printJson } from '../output.ts'

export interface PushOptions {
  readonly dir?: string
  readonly node?: string
  readonly dryRun?: true
  readonly json?: true
}

export async function run(options: PushOptions): Promise<number> {
  const { layout, config } = await openHome(options.dir)
  const only = options.node === undefined ? undefined : [nodeOf(config, options.node).name]
  const dryRun = options.dryRun === true
  if (!dryRun) await publish({ layout, config, format: 'tar', owner: DEFAULT_OWNER })
  const deliveries = await deliverBundles({ layout, config, dryRun, ...(only !== undefined && { only }) })
  if (options.json) printJson({ dryRun, nodes: deliveries.map(deliveryJson) })
  else print(deliveries.map((each) => (dryRun ? `would be so: ${deliveryLine(each)}` : deliveryLine(each))))
  return exitOf(deliveries)
}

/** Nobody has it: unreachable. Somebody has not: not healthy. */
export function exitOf(deliveries: readonly Delivery[]): number {
  const missed = deliveries.filter(({ error }) => error !== null)
  if (missed.length === 0) return EXIT.done
  if (missed.some(({ error }) => error?.code !== 'unreachable')) return EXIT.failed
  return missed.length === deliveries.length ? EXIT.unreachable : EXIT.unhealthy
}
