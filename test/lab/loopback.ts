/**
 * The network where no namespaces can be made: every place has a loopback address of its own, 127.N.i.i, and place i reaches place j
 * through the proxy that listens at 127.N.i.j. Linux takes all of 127.0.0.0/8 as its own, so nothing has to be set up.
 */
import { Mesh } from './mesh.ts'
import { CLIENTS, type Network, type NetworkOptions, type Place } from './network.ts'

const FIRST_NETWORK = 100

export async function openLoopback(options: NetworkOptions): Promise<Network> {
  const { places, local, runAs } = options
  const indexOf = (place: Place): number => (place === CLIENTS ? 10 : places.indexOf(place) + 1)
  const address = (from: Place, to: Place): string =>
    `127.${FIRST_NETWORK + options.number}.${indexOf(from)}.${indexOf(to)}`
  const mesh = await Mesh.start({
    froms: [...places, CLIENTS],
    services: options.services,
    pairAddress: address,
    realAddress: (to) => (local.includes(to) ? '127.0.0.1' : address(to, to)),
    clientAddress: (from, to) => (local.includes(to) ? null : address(to, from)),
  })
  return {
    kind: 'proxies',
    canDelay: true,
    addressOf: address,
    at: (_, command) => (runAs === null ? command : [...asUser(runAs), ...command]),
    cut: async (cuts) => mesh.cut(cuts),
    delay: (delays) => mesh.delay(delays),
    close: () => mesh.close(),
  }
}

function asUser({ uid, gid }: { readonly uid: number; readonly gid: number }): readonly string[] {
  return ['setpriv', `--reuid=${uid}`, `--regid=${gid}`, '--clear-groups']
}
