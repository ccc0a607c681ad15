/** What a run of the proxy's benchmark says at its end. */
import { spread } from '../cluster-local.ts'
import { type Figure, medianOf, ratioOf, type Samples } from './figures.ts'
import type { PeerName } from './peers.ts'
import type { Sample } from './speed.ts'

const WIDTH = 16

export function reportSpeed(speed: readonly Sample[], peers: readonly PeerName[]): readonly string[] {
  const sections = [...new Set(speed.map(({ section }) => section))]
  return sections.flatMap((section) => {
    const of = speed.filter((each) => each.section === section)
    const clients = [...new Set(of.map((each) => each.clients))]
    const rounds = new Set(of.map(({ round }) => round)).size
    const header = row(['clients', ...peers])
    const lines = clients.map((count) =>
      section === 'latency' ? latencyRow(speed, count, peers) : speedRow(speed, section, count, peers),
    )
    const what =
      section === 'latency'
        ? 'mean / p99 of a transaction in ms, -S simple'
        : 'transactions per second (times ours is as fast); below: processor time of the proxy for one, in µs'
    return ['', `${section}: ${what}; medians of ${rounds}`, header, ...lines.flat()]
  })
}

function speedRow(
  speed: readonly Sample[],
  section: string,
  clients: number,
  peers: readonly PeerName[],
): readonly string[] {
  const where = { section, clients }
  const tps = peers.map((peer) => {
    const value = medianOf(speed, where, peer, (sample) => sample.tps)
    if (Number.isNaN(value)) return '-'
    if (peer === 'understudy') return value.toFixed(0)
    return `${value.toFixed(0)} (${ratioOf(speed, where, peer, (sample) => sample.tps).toFixed(2)})`
  })
  const cpu = peers.map((peer) =>
    shown(
      medianOf(speed, where, peer, (sample) => sample.cpuMicroseconds),
      0,
    ),
  )
  return [row([String(clients), ...tps]), row(['', ...cpu])]
}

function latencyRow(
  speed: readonly Sample[],
  clients: number,
  peers: readonly PeerName[],
): readonly string[] {
  const where = { section: 'latency', clients }
  const cells = peers.map((peer) => {
    const mean = shown(
      medianOf(speed, where, peer, (sample) => sample.meanMs),
      3,
    )
    return `${mean} / ${shown(
      medianOf(speed, where, peer, (sample) => sample.p99Ms),
      2,
    )}`
  })
  return [row([String(clients), ...cells])]
}

export function reportRest({ idle, outages }: Samples): readonly string[] {
  const peers = [...new Set(idle.map(({ peer }) => peer))]
  const memory = peers.map((peer) => {
    const of = idle.filter((each) => each.peer === peer)
    const [without, withClients] = [of.map((each) => each.beforeMb), of.map((each) => each.withClientsMb)]
    return `idle: ${peer.padEnd(12)} ${spread(without, 0)} MB before, ${spread(withClients, 0)} MB with ${of[0]?.clients} clients`
  })
  const kinds = [...new Set(outages.map(({ kind }) => kind))]
  const stalls = kinds.map((kind) => {
    const of = outages.filter((each) => each.kind === kind)
    const sum = (pick: (each: (typeof of)[number]) => number): number =>
      of.reduce((total, each) => total + pick(each), 0)
    const errors = `in doubt (08007) ${sum((each) => each.inDoubt)}, lost (40001) ${sum((each) => each.lost)}, not in the contract ${sum((each) => each.unforeseen.length)}`
    return `${kind}: longest stall ${spread(
      of.map((each) => each.longestStallMs),
      0,
    )} ms (n=${of.length}); ${errors}`
  })
  return ['', ...memory, ...stalls]
}

export function reportFigures(figures: readonly Figure[]): readonly string[] {
  if (figures.length === 0) return []
  const lines = figures.map(({ title, value, unit, better, bar, aim }) => {
    const reached = better === 'higher' ? value >= bar : value <= bar
    const digits = Number.isInteger(value) ? 0 : 2
    return `${reached ? 'ok  ' : 'MISS'} ${title}: ${value.toFixed(digits)}${unit} (bar ${bar}, aim ${aim})`
  })
  return ['', ...lines]
}

function shown(value: number, digits: number): string {
  return Number.isNaN(value) ? '-' : value.toFixed(digits)
}

function row(cells: readonly string[]): string {
  return cells.map((cell, index) => (index === 0 ? cell.padStart(7) : cell.padStart(WIDTH))).join('  ')
}
