/** `understudy down`: stops a local cluster in order, whoever started it and whatever of it still runs. */
import { UnderstudyError } from '../../errors/codes.ts'
import { supervisorPart } from '../local/layout.ts'
import { acquireLock } from '../local/lock.ts'
import { namedDirectory, type OpenCluster, openCluster } from '../local/open.ts'
import { findForeground, findPart, signal, waitGone } from '../local/processes.ts'
import { stopParts } from '../local/supervisor.ts'
import { colourFor, EXIT, print, printJson } from '../output.ts'
import { createStepView } from '../steps.ts'

const DEADLINE_MS = 120_000

export interface DownOptions {
  readonly data?: string
  readonly json: boolean
}

export async function run(options: DownOptions): Promise<number> {
  const cluster = await openCluster({ data: namedDirectory(options) })
  const view = createStepView({
    stream: process.stderr,
    plain: options.json,
    colour: colourFor(process.stderr),
  })
  const startedAtMs = performance.now()
  view.step('down', 'stopping')
  try {
    const supervised = await stopSupervisor(cluster)
    const stopped = await stopParts(cluster, (name) => view.detail('down', name))
    const nothing = !supervised && stopped.length === 0
    view.done('down', nothing ? 'nothing was running' : 'stopped', performance.now() - startedAtMs)
    view.close()
    if (options.json) printJson({ stopped: !nothing })
    else if (!nothing) print('The data stays; `understudy up` goes on with it.')
    return EXIT.done
  } finally {
    view.close()
  }
}

/** true when there was one. It stops the parts itself; waiting for its end is waiting for theirs. */
async function stopSupervisor(cluster: OpenCluster): Promise<boolean> {
  const lock = await acquireLock(cluster.directory, 'up')
  if (lock !== null) {
    await lock.release()
    return false
  }
  const pid = findPart(supervisorPart(cluster.directory)) ?? findForeground(cluster.directory)
  if (pid === null) {
    throw new UnderstudyError('timeout', 'the cluster has a supervisor, but its process was not found', {
      hint: 'Wait a moment and try again; or end the `understudy up` in its own terminal with Ctrl-C.',
    })
  }
  signal(pid, 'SIGTERM')
  if (!(await waitGone(pid, DEADLINE_MS))) {
    throw new UnderstudyError(
      'timeout',
      `the supervisor (process ${pid}) has not ended after ${DEADLINE_MS / 1_000} s`,
    )
  }
  return true
}
