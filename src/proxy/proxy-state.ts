/** A proxy in a few numbers, from what its workers say. Pure. */
import type { ProxyState } from '../ports/cluster-store.ts'
import type { WorkerView } from '../ports/proxy-view.ts'

/** null: no worker says anything, or one has not heard from the store yet. */
export function proxyState(node: string | null, workers: readonly WorkerView[]): ProxyState | null {
  // The one that knows least: whoever looks asks whether all have followed.
  const epoch = Math.min(...workers.map(({ route }) => route.epoch))
  if (workers.length === 0 || epoch === 0) return null
  const pools = workers.flatMap((worker) => worker.pools)
  const sum = (values: readonly number[]): number => values.reduce((all, value) => all + value, 0)
  return {
    node,
    workers: workers.length,
    clients: sum(workers.map(({ clients }) => clients)),
    waiting: sum(pools.map(({ clientsWaiting }) => clientsWaiting)),
    servers: sum(
      pools.map(
        ({ serversActive, serversIdle, serversCancelling }) =>
          serversActive + serversIdle + serversCancelling,
      ),
    ),
    epoch,
    held: workers.some(({ route }) => route.kind === 'held'),
    paused: pools.some(({ paused }) => paused),
  }
}
