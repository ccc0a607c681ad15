/**
 * The network as root makes it: a namespace for each place, all of them joined by a bridge in one more, to which this machine's own
 * namespace, where the clients are, has a link as well. Packets are dropped by nft in the namespaces of both ends. Nothing of it touches
 * the machine's own network but one link and its addresses (198.18.0.0/15 is for tests of networks, RFC 2544).
 */
import { Mesh } from './mesh.ts'
import { CLIENTS, type Cut, type Network, type NetworkOptions, type Place } from './network.ts'
import { attempt, run } from './shell.ts'

const PAIRS_FROM = 100
const CLIENTS_HOST = 254

/** Whether this process may make namespaces and filter in them; why not, otherwise. */
export async function namespacesMissing(): Promise<string | null> {
  if (process.getuid?.() !== 0) return 'only root makes network namespaces'
  for (const [program, debianPackage] of [
    ['ip', 'iproute2'],
    ['nft', 'nftables'],
    ['nsenter', 'util-linux'],
  ] as const)
    if (!(await attempt('which', [program])))
      return `${program} is not installed (apt install ${debianPackage})`
  const tried = await run('unshare', ['--net', '--mount', 'nft', '-f', '-'], FILTER).catch(
    (error: Error) => error.message,
  )
  return tried === '' ? null : `no namespaces or filters can be made here: ${tried}`
}

/** What is dropped or rejected is in sets, which one transaction changes; everything else passes. */
const FILTER = `
add table inet lab
add set inet lab dropFrom { type ipv4_addr; }
add set inet lab dropTo { type ipv4_addr; }
add set inet lab rejectFrom { type ipv4_addr; }
add set inet lab rejectTo { type ipv4_addr; }
add chain inet lab input { type filter hook input priority 0; }
add chain inet lab output { type filter hook output priority 0; }
add rule inet lab input ip saddr @dropFrom drop
add rule inet lab output ip daddr @dropTo drop
add rule inet lab input ip saddr @rejectFrom ip protocol tcp reject with tcp reset
add rule inet lab output ip daddr @rejectTo ip protocol tcp reject with tcp reset
`

export async function openNamespaces(options: NetworkOptions): Promise<Network> {
  const addresses = new Addresses(options)
  await build(options, addresses)
  const mesh = await startMesh(options, addresses)
  const namespaceOf = (place: Place): string => `/run/netns/${options.name}-${place}`
  const user =
    options.runAs === null ? [] : ['--setuid', `${options.runAs.uid}`, '--setgid', `${options.runAs.gid}`]
  let before = new Map<Place, string>()
  return {
    kind: 'namespaces',
    canDelay: options.canDelay,
    addressOf: (from, to) => addresses.seen(from, to),
    at: (place, command) =>
      place === CLIENTS || options.local.includes(place)
        ? ['nsenter', ...user, '--', ...command]
        : ['nsenter', `--net=${namespaceOf(place)}`, ...user, '--', ...command],
    cut: async (cuts) => {
      const wanted = new Map(options.places.map((place) => [place, filterOf(place, cuts, addresses)]))
      const changed = [...wanted].filter(([place, text]) => before.get(place) !== text)
      before = wanted
      await Promise.all(
        changed
          .filter(([place]) => !options.local.includes(place))
          .map(([place, text]) => run('nsenter', [`--net=${namespaceOf(place)}`, 'nft', '-f', '-'], text)),
      )
    },
    delay: (delays) => {
      if (!options.canDelay) throw new Error('this network was opened without delays')
      mesh?.delay(delays)
    },
    close: async () => {
      await mesh?.close()
    },
  }
}

/** Everybody has 198.18.N.i; the proxy through which i reaches j is at 198.18.N.(100 + 10 i + j). */
class Addresses {
  readonly #options: NetworkOptions

  constructor(options: NetworkOptions) {
    this.#options = options
    if (options.places.length > 9) throw new Error('there are addresses for nine places')
  }

  #host(host: number): string {
    return `198.18.${this.#options.number}.${host}`
  }

  #index(place: Place): number {
    return place === CLIENTS ? 0 : this.#options.places.indexOf(place) + 1
  }

  real(place: Place): string {
    return this.#host(place === CLIENTS ? CLIENTS_HOST : this.#index(place))
  }

  pair(from: Place, to: Place): string {
    return this.#host(PAIRS_FROM + 10 * this.#index(from) + this.#index(to))
  }

  isThroughProxy(from: Place, to: Place): boolean {
    return from !== to && (this.#options.canDelay || this.#options.local.includes(to))
  }

  seen(from: Place, to: Place): string {
    return this.isThroughProxy(from, to) ? this.pair(from, to) : this.real(to)
  }
}

async function build(options: NetworkOptions, addresses: Addresses): Promise<void> {
  const { name } = options
  const places = options.places.filter((each) => !options.local.includes(each))
  const hub = `${name}-hub`
  await run(
    'ip',
    ['-batch', '-'],
    [hub, ...places.map((each) => `${name}-${each}`)].map((each) => `netns add ${each}\n`).join(''),
  )
  const links = places.map(
    (place, index) => `link add p${index} type veth peer name eth0 netns ${name}-${place}
link set p${index} master lab up\n`,
  )
  await run(
    'ip',
    ['-n', hub, '-batch', '-'],
    `link add lab type bridge forward_delay 0
link set lab up
${links.join('')}`,
  )
  const proxies = [...places, CLIENTS].flatMap((from) =>
    options.places
      .filter((to) => addresses.isThroughProxy(from, to))
      .map((to) => `addr add ${addresses.pair(from, to)}/24 dev ${name}\n`),
  )
  const clients = `link add ${name} type veth peer name clients netns ${hub}
addr add ${addresses.real(CLIENTS)}/24 dev ${name}
${proxies.join('')}link set ${name} up\n`
  await Promise.all([
    run('ip', ['-batch', '-'], clients).then(() =>
      run('ip', ['-n', hub, 'link', 'set', 'clients', 'master', 'lab', 'up']),
    ),
    ...places.map(async (place) => {
      const settings = `addr add ${addresses.real(place)}/24 dev eth0
link set eth0 up
link set lo up\n`
      await run('ip', ['-n', `${name}-${place}`, '-batch', '-'], settings)
      await run('nsenter', [`--net=/run/netns/${name}-${place}`, 'nft', '-f', '-'], FILTER)
    }),
  ])
}

async function startMesh(options: NetworkOptions, addresses: Addresses): Promise<Mesh | null> {
  if (!options.canDelay && options.local.length === 0) return null
  const { local } = options
  return Mesh.start({
    froms: [...options.places.filter((each) => !local.includes(each)), CLIENTS],
    services: options.services.filter(({ at }) => options.canDelay || local.includes(at)),
    pairAddress: (from, to) => addresses.pair(from, to),
    realAddress: (to) => (local.includes(to) ? '127.0.0.1' : addresses.real(to)),
    // The address under which `to` knows `from`, so that pg_hba.conf lets it in; clients may come from anywhere.
    clientAddress: (from, to) => (from === CLIENTS || local.includes(to) ? null : addresses.seen(to, from)),
  })
}

/**
 * The whole filter of one place. Both ends of a pair have a rule, so that a cut also holds towards the clients, who have no filter. A
 * proxy between two places has the address that each of them knows the other by.
 */
function filterOf(place: Place, cuts: readonly Cut[], addresses: Addresses): string {
  const elements = (set: string, others: readonly Place[]): string => {
    const all = new Set(others.flatMap((other) => [addresses.real(other), addresses.seen(place, other)]))
    return `flush set inet lab ${set}\n${all.size === 0 ? '' : `add element inet lab ${set} { ${[...all].join(', ')} }\n`}`
  }
  const from = (how: Cut['how']): readonly Place[] =>
    cuts.filter((cut) => cut.to === place && cut.how === how).map((cut) => cut.from)
  const to = (how: Cut['how']): readonly Place[] =>
    cuts.filter((cut) => cut.from === place && cut.how === how).map((cut) => cut.to)
  return [
    elements('dropFrom', from('drop')),
    elements('dropTo', to('drop')),
    elements('rejectFrom', from('reject')),
    elements('rejectTo', to('reject')),
  ].join('')
}
