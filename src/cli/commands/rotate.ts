/** `understudy rotate passwords|certificates`: new ones for every node, while everything runs. */
import { rm } from 'node:fs/promises'
import { UnderstudyError } from '../../errors/codes.ts'
import { issueCertificate } from '../../postgres/certificates.ts'
import { askCluster } from '../api-client.ts'
import { confirm } from '../confirm.ts'
import { demand } from '../local/prepare.ts'
import { deliverBundles, deliveryJson, deliveryLine } from '../machines/deliver.ts'
import { certificateHosts, type Home, openHome } from '../machines/home.ts'
import { rotatePasswords } from '../machines/passwords.ts'
import { DEFAULT_OWNER, publish } from '../machines/publish.ts'
import { EXIT, note, print, printJson } from '../output.ts'
import { exitOf } from './push.ts'

export interface RotateOptions {
  readonly what: 'passwords' | 'certificates'
  readonly dir?: string
  readonly yes?: true
  readonly dryRun?: true
  readonly json?: true
}

const QUESTION = {
  passwords: 'Make new passwords for every role, the application’s too, and a new token of the API?',
  certificates: 'Issue a new certificate and key for every node?',
} as const

export async function run(options: RotateOptions): Promise<number> {
  const { what } = options
  const home = await openHome(options.dir)
  const primary = (await askCluster(home.config.nodes))?.primary ?? null
  if (primary === null)
    throw new UnderstudyError('unreachable', 'no agent answers that knows of a primary', {
      hint: '`understudy status` says what runs: passwords are changed on the primary, and told to nodes that run.',
    })
  if (options.dryRun === true) return tellPlan(home, primary, options)
  if (!(await confirm(QUESTION[what], options.yes === true))) {
    note('nothing was changed')
    return EXIT.failed
  }
  const { layout, config } = home
  if (what === 'passwords') await rotatePasswords(layout, config, primary)
  else await issueAll(home)
  await publish({ layout, config, format: 'tar', owner: DEFAULT_OWNER })
  const deliveries = await deliverBundles({ layout, config })
  const code = exitOf(deliveries)
  // Every node has the new ones: the ones before open nothing any more.
  if (what === 'passwords' && code === EXIT.done)
    await rm(`${layout.secrets}/previous`, { recursive: true, force: true })
  if (options.json) printJson({ rotated: what, nodes: deliveries.map(deliveryJson) })
  else {
    print(deliveries.map(deliveryLine))
    if (what === 'passwords') note('The application has a new password, too: `understudy url` prints it.')
    if (code !== EXIT.done) note('Run `understudy push` when the others are there again.')
  }
  return code
}

async function issueAll({ layout, config }: Home): Promise<void> {
  for (const node of config.nodes) {
    const target = layout.nodeKeyPair(node.name)
    const hosts = certificateHosts(config, node)
    demand(await issueCertificate({ authority: layout.authority, node: node.name, hosts, target }))
  }
}

function tellPlan({ config }: Home, primary: string, { what, json }: RotateOptions): number {
  const nodes = config.nodes.map(({ name }) => name)
  if (json) printJson({ rotated: what, dryRun: true, primary, nodes })
  else
    print([
      what === 'passwords'
        ? `would give the roles of ${config.cluster} new passwords on ${primary}, in one transaction`
        : `would issue certificates for ${nodes.join(', ')}`,
      `would bring them to ${nodes.join(', ')}; PostgreSQL goes on. Nothing was changed.`,
    ])
  return EXIT.done
}
