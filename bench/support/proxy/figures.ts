/** The figures of the proxy out of the samples of a run, with what is asked of each. Pure. */
import { median } from '../cluster-local.ts'
import type { IdleSample } from './idle.ts'
import type { OutageKind, OutageSample } from './outage.ts'
import type { PeerName } from './peers.ts'
import type { Sample } from './speed.ts'

export interface Samples {
  readonly speed: readonly Sample[]
  readonly idle: readonly IdleSample[]
  readonly outages: readonly OutageSample[]
}

export interface Figure {
  readonly title: string
  readonly value: number
  readonly unit: string
  /** At least so much, or at most. */
  readonly better: 'higher' | 'lower'
  readonly bar: number
  readonly aim: number
}

const COMPARED_CLIENTS = [10, 50, 100]
const OURS = 'understudy'

/** Those that were measured. `peer`: with whom ours is compared, PgBouncer unless an earlier build is looked at. */
export function figuresOf(
  { speed, idle, outages }: Samples,
  peer: PeerName = 'pgbouncer',
): readonly Figure[] {
  const speedFigure = (section: string, title: string, bar: number): Figure => ({
    title: `${title} against ${peer}, geometric mean of ${COMPARED_CLIENTS.join(', ')} clients`,
    value: geometricMean(
      COMPARED_CLIENTS.map((clients) => ratioOf(speed, { section, clients }, peer, ({ tps }) => tps)),
    ),
    ...{ unit: '', better: 'higher', bar, aim: 1 },
  })
  const all: Figure[] = [
    speedFigure('simple', '-S, simple', 0.8),
    speedFigure('tpcb', 'TPC-B, simple', 0.95),
    {
      title: `added latency at 1 client against ${peer}’s`,
      value: addedLatencyRatio(speed, peer),
      ...{ unit: ' times', better: 'lower', bar: 1.3, aim: 1 },
    },
    {
      title: `p99 at 100 clients against ${peer}’s`,
      value: ratioOf(speed, { section: 'latency', clients: 100 }, peer, ({ p99Ms }) => p99Ms),
      ...{ unit: ' times', better: 'lower', bar: 1.3, aim: 1 },
    },
    {
      title: 'idle clients, resident memory of all processes',
      value: median(idle.filter((each) => each.peer === OURS).map((each) => each.withClientsMb)),
      ...{ unit: ' MB', better: 'lower', bar: 300, aim: 200 },
    },
    ...outageFigures(outages),
  ]
  return all.filter(({ value }) => !Number.isNaN(value))
}

function outageFigures(outages: readonly OutageSample[]): readonly Figure[] {
  const of = (kind: OutageKind): readonly OutageSample[] => outages.filter((each) => each.kind === kind)
  const stall = (kind: OutageKind): number =>
    median(of(kind).map(({ longestStallMs }) => longestStallMs / 1_000))
  const planned = of('switchover')
  const errors = planned.reduce((sum, each) => sum + each.inDoubt + each.lost + each.unforeseen.length, 0)
  return [
    {
      title: 'planned switchover under 50 clients: errors of all of them',
      value: planned.length === 0 ? Number.NaN : errors,
      ...{ unit: '', better: 'lower', bar: 0, aim: 0 },
    },
    {
      title: 'planned switchover under 50 clients: longest stall, median',
      value: stall('switchover'),
      ...{ unit: ' s', better: 'lower', bar: 1, aim: 0.4 },
    },
    {
      title: 'node death under 50 clients: longest stall, median',
      value: stall('death'),
      ...{ unit: ' s', better: 'lower', bar: 1, aim: 0.5 },
    },
  ]
}

interface Where {
  readonly section: string
  readonly clients: number
}

function at(speed: readonly Sample[], { section, clients }: Where, peer: PeerName): readonly Sample[] {
  return speed.filter((each) => each.section === section && each.clients === clients && each.peer === peer)
}

/** Of each round, ours by theirs, and the median of that: what slows a whole round down is in both. NaN when one was not measured. */
export function ratioOf(
  speed: readonly Sample[],
  where: Where,
  peer: PeerName,
  pick: (sample: Sample) => number,
): number {
  const theirs = new Map(at(speed, where, peer).map((sample) => [sample.round, pick(sample)]))
  const ratios = at(speed, where, OURS).flatMap((sample) => {
    const other = theirs.get(sample.round)
    return other === undefined ? [] : [pick(sample) / other]
  })
  return median(ratios)
}

/** What the proxy adds to the server's own latency, ours by theirs. Each round's own three readings are compared. */
function addedLatencyRatio(speed: readonly Sample[], peer: PeerName): number {
  const where = { section: 'latency', clients: 1 }
  const direct = new Map(at(speed, where, 'direct').map(({ round, meanMs }) => [round, meanMs]))
  const added = (of: PeerName): number =>
    median(at(speed, where, of).map(({ round, meanMs }) => meanMs - (direct.get(round) ?? Number.NaN)))
  return added(OURS) / added(peer)
}

export function medianOf(
  speed: readonly Sample[],
  where: Where,
  peer: PeerName,
  pick: (sample: Sample) => number,
): number {
  return median(at(speed, where, peer).map(pick))
}

function geometricMean(values: readonly number[]): number {
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length)
}
