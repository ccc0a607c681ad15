/** The supervisor of a detached local cluster (hidden; `understudy up --detach` starts it): no terminal, words into its log. */
import { UnderstudyError } from '../../errors/codes.ts'
import { acquireLock } from '../local/lock.ts'
import { openCluster } from '../local/open.ts'
import { Supervisor } from '../local/supervisor.ts'
import { EXIT, note } from '../output.ts'

export async function run(options: { readonly data: string }): Promise<number> {
  const cluster = await openCluster(options)
  const lock = await acquireLock(cluster.directory, 'up')
  if (lock === null)
    throw new UnderstudyError('already-running', `the cluster in ${cluster.directory} has a supervisor`)
  const ended = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, () => ended.abort(name))
  process.on('SIGHUP', () => {})
  const say = (message: string): void => note(`${new Date().toISOString()} ${message}`)
  const supervisor = new Supervisor(cluster, say)
  supervisor.startAll()
  say('the parts are started')
  await supervisor.watch(ended.signal)
  say(`told to stop (${String(ended.signal.reason)})`)
  await supervisor.stop(say)
  say('stopped')
  await lock.release()
  return EXIT.done
}
