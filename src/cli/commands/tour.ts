/**
 * `understudy tour`: a running cluster, step by step: what a person would type for each, why, what to look at, and what this cluster says
 * of it now. It asks before it changes who is primary, and leaves the cluster as healthy as it was, however it ends.
 */
import { UnderstudyError } from '../../errors/codes.ts'
import { sceneOf } from '../by-hand/gather.ts'
import type { ClusterFlags } from '../flags.ts'
import { openCluster } from '../local/open.ts'
import { EXIT, note, print, printJson, readerGone } from '../output.ts'
import { programName } from '../program-name.ts'
import { signalNumber } from '../signals.ts'
import { changeStations, farewell } from '../tour/change-stations.ts'
import { Guide, type Guided } from '../tour/guide.ts'
import { lookStations } from '../tour/look-stations.ts'
import { rowStations } from '../tour/row-stations.ts'
import { Sight } from '../tour/sight.ts'

export interface TourOptions extends ClusterFlags {
  readonly plain?: true
  readonly yes?: true
  /** false: --no-changes. */
  readonly changes: boolean
  readonly json?: true
}

/** A start or a change that is just ending may go on. */
const SETTLING_MS = 5_000

/** Errors: unreachable, unhealthy, no-primary, usage, connect-failed, no-permission; those of the changes. */
export async function run(options: TourOptions): Promise<number> {
  const cluster = await openCluster(options)
  if (cluster.config.nodes.length < 2)
    throw new UnderstudyError('usage', 'the cluster has one node, and nothing is replicated', {
      hint: 'A tour needs two nodes or more: `understudy up --data DIR` starts a cluster of three.',
    })
  const leaving = listenForLeave()
  const sight = new Sight(
    cluster,
    await sceneOf(cluster.config, { pg: undefined, here: null }),
    leaving.first,
  )
  const guide = new Guide({
    yes: options.yes === true,
    noChanges: !options.changes,
    plain: options.plain === true,
    json: options.json === true,
    signal: leaving.first,
  })
  try {
    await sight.status()
    await sight.untilWhole(leaving.first, SETTLING_MS)
    const guided = await guide.lead([
      ...lookStations(sight),
      ...rowStations(sight),
      ...changeStations(sight, {
        program: programName(process.argv, process.env),
        hurry: leaving.second,
        onProgress: (text) => guide.progress(text),
      }),
    ])
    return await tellEnd(sight, guided, options, leaving)
  } catch (error) {
    if (!leaving.first.aborted) throw error
    tellLeft(leaving.second.aborted)
    return leaving.exitCode()
  } finally {
    await sight.close()
    leaving.stop()
  }
}

async function tellEnd(
  sight: Sight,
  { steps, left }: Guided,
  options: TourOptions,
  leaving: Leaving,
): Promise<number> {
  const status = left === null ? await sight.untilWhole(leaving.second) : await sight.status()
  if (options.json) {
    const { cluster, primary, epoch, healthy } = status
    printJson({ cluster, primary, epoch, healthy, left, steps })
  } else if (left === null) print(['', farewell(status)])
  else tellLeft(false)
  return left === 'interrupt' ? leaving.exitCode() : EXIT.done
}

function tellLeft(amidst: boolean): void {
  note(
    amidst
      ? 'Left. The cluster becomes whole by itself: `understudy status --watch` shows it.'
      : 'Left. Nothing of the tour remains in the cluster.',
  )
}

interface Leaving {
  /** Nothing new is begun. */
  readonly first: AbortSignal
  /** What has been begun is not waited for either. */
  readonly second: AbortSignal
  exitCode(): number
  stop(): void
}

/** The first signal leaves in order; during a change of primary that is when the cluster is whole again. The second one leaves at once. */
function listenForLeave(): Leaving {
  const first = new AbortController()
  const second = new AbortController()
  let name: NodeJS.Signals = 'SIGINT'
  const listeners = (['SIGINT', 'SIGTERM', 'SIGHUP'] as const).map((each) => {
    const listener = (): void => {
      name = each
      if (first.signal.aborted) second.abort()
      else first.abort()
    }
    process.on(each, listener)
    return [each, listener] as const
  })
  let readerLeft = false
  const gone = (): void => {
    readerLeft = true
    first.abort()
  }
  readerGone.addEventListener('abort', gone)
  return {
    first: first.signal,
    second: second.signal,
    // Who has read enough (`tour | head`) has got what was wanted.
    exitCode: () => (readerLeft ? EXIT.done : 128 + signalNumber(name)),
    stop: () => {
      for (const [each, listener] of listeners) process.off(each, listener)
      readerGone.removeEventListener('abort', gone)
    },
  }
}
