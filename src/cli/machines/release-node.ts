/**
 * A node's agent gives its PostgreSQL up: from then on that runs as plain PostgreSQL, with the files and the stream that it has, and no agent
 * starts here any more until somebody removes the mark.
 */
import { realpath } from 'node:fs/promises'
import type { ReleaseAnswer } from '../../api/contract.ts'
import type { ResolvedConfig, ResolvedNode } from '../../config/load.ts'
import { SLOT_PREFIX } from '../../core/cluster-view.ts'
import { UnderstudyError } from '../../errors/codes.ts'
import type { Outcome, Postgres } from '../../ports/postgres.ts'
import { nodeLayout } from '../../postgres/layout.ts'
import { releaseFiles } from '../../postgres/release.ts'
import { binariesOf, composePostgres } from '../compose.ts'
import { readService } from '../existing/service.ts'
import { demand } from '../local/prepare.ts'
import { beginRelease, endRelease, readReleaseMark, releasedFile } from './release-mark.ts'

const LOOK_MS = 5_000

export interface ReleaseNode {
  readonly config: ResolvedConfig
  readonly node: ResolvedNode
  readonly postgres: Postgres
  readonly binDirectory: string
  readonly by: string | undefined
  readonly dryRun: boolean
}

/** Looks, and makes it so that no agent follows this one. What is left to do is done when it has ended: it would put back what is taken away. */
export async function releaseNode(options: ReleaseNode): Promise<Outcome<ReleaseAnswer>> {
  const { node, postgres, dryRun } = options
  const looked = await postgres.observe(LOOK_MS)
  if (looked.kind === 'failed') return looked
  const { inRecovery, walreceiver } = looked.value
  if (inRecovery && walreceiver?.status !== 'streaming')
    return { kind: 'failed', code: 'not-streaming', reason: `${node.name} does not stream right now` }
  const answer = await answerOf(options, inRecovery)
  if (!dryRun) await beginRelease(node.directory, { at: new Date().toISOString(), by: options.by ?? null })
  return { kind: 'ok', value: answer }
}

/** Nothing of PostgreSQL stops. Can be done twice. Errors: those of PostgreSQL. */
export async function finishRelease(config: ResolvedConfig, node: ResolvedNode): Promise<void> {
  const begun = await readReleaseMark(node.directory)
  if (begun === null || begun.isFinished) return
  const postgres = composePostgres(config, node, await binariesOf(config), () => {})
  try {
    const looked = await postgres.observe(LOOK_MS)
    const { inRecovery, slots } = demand(looked)
    // Of the other nodes, on a standby: nobody would ever move them on, and they would hold WAL for ever.
    for (const { name, active } of inRecovery ? slots : [])
      if (name.startsWith(SLOT_PREFIX) && !active) demand(await postgres.dropSlot(name))
    demand(await releaseFiles(nodeLayout(node.directory)))
    demand(await postgres.reload())
  } finally {
    await postgres.close()
  }
  await endRelease(node.directory, begun.mark)
}

async function answerOf({ node, binDirectory }: ReleaseNode, inRecovery: boolean): Promise<ReleaseAnswer> {
  const { dataDir, configFile } = nodeLayout(node.directory)
  return {
    node: node.name,
    role: inRecovery ? 'standby' : 'primary',
    dataDirectory: await realpath(dataDir).catch(() => dataDir),
    configFile,
    nodeDirectory: node.directory,
    binDirectory,
    service: await readService(node.directory),
  }
}

/** An agent that died on the way is followed by one that finishes what it began. Errors: released. */
export async function refuseReleased(config: ResolvedConfig, node: ResolvedNode): Promise<void> {
  if ((await readReleaseMark(node.directory)) === null) return
  await finishRelease(config, node)
  throw new UnderstudyError('released', `${node.name} was released: its PostgreSQL is plain PostgreSQL`, {
    hint: `Disable the agent's unit (systemctl disable --now). To manage it again, begin anew: \`understudy init --from\`; ${releasedFile(node.directory)} is what says so.`,
  })
}
