/** The command line of `npm run torture`. */
import { parseArgs } from 'node:util'
import { FAULTS } from '../test/lab/faults/catalogue.ts'
import type { LabOptions } from '../test/lab/lab.ts'
import { hasEtcd, type StoreKind } from '../test/lab/store.ts'

export const USAGE = `npm run torture -- [options]
  --minutes N           how long faults are injected (5)
  --rounds N            at most so many rounds
  --seed S              what the faults are drawn from (a new one each time)
  --pg VERSION          15, 18 or a directory with the programs (15)
  --nodes N             3 or 5 (3)
  --durability MODE     quorum or async (quorum)
  --store KIND          etcd (three members), etcd1 (one), embedded (etcd where it is installed)
  --network KIND        namespaces or proxies (namespaces where root can make them)
  --rto DURATION-MS     milliseconds after which the primary's silence counts as death (2000)
  --faults A,B,C        only these
  --without A,B,C       all but these
  --disks KIND          memory, or blocks, for hanging-disk (memory; only root can mount either)
  --delays              everything between the nodes through proxies, for slow-network
  --dead-end-s N        how soon after the last fault the cluster must be whole again (120)
  --through-proxy       clients go through the proxy, and every error must be one that its contract names
  --replay FILE         the rounds of a schedule that was written down, instead of drawing them
  --break local|off     synchronous_commit of the clients: the checker must find that it loses writes
  --logs DIR            keep the logs there, also of a run that went well
  --keep                leave the cluster running at the end, for looking at

Faults: ${FAULTS.map(({ name }) => name).join(', ')}`

export interface TortureOptions {
  readonly lab: LabOptions
  readonly minutes: number
  readonly rounds: number
  readonly seed: number
  readonly faults: readonly string[] | null
  readonly replay: string | null
  readonly breaks: 'local' | 'off' | null
  readonly deadEndMs: number
  readonly logs: string | null
  readonly keep: boolean
}

/** 'help' when that was asked for. Errors: what is wrong, as a sentence. */
export function readOptions(args: readonly string[]): TortureOptions | 'help' {
  const { values } = parseArgs({
    args: [...args],
    options: {
      minutes: { type: 'string', default: '5' },
      rounds: { type: 'string' },
      seed: { type: 'string' },
      pg: { type: 'string', default: '15' },
      nodes: { type: 'string', default: '3' },
      durability: { type: 'string', default: 'quorum' },
      store: { type: 'string', default: hasEtcd ? 'etcd' : 'embedded' },
      network: { type: 'string' },
      rto: { type: 'string', default: '2000' },
      faults: { type: 'string' },
      without: { type: 'string' },
      disks: { type: 'string', default: 'memory' },
      delays: { type: 'boolean', default: false },
      'through-proxy': { type: 'boolean', default: false },
      'dead-end-s': { type: 'string', default: '120' },
      replay: { type: 'string' },
      break: { type: 'string' },
      logs: { type: 'string' },
      keep: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return 'help'
  const network =
    values.network === undefined ? null : oneOf('network', values.network, ['namespaces', 'proxies'])
  return {
    lab: {
      pg: values.pg,
      nodes: Number(oneOf('nodes', values.nodes, ['3', '5'])) as 3 | 5,
      durability: oneOf('durability', values.durability, ['quorum', 'async']),
      store: oneOf<StoreKind>('store', values.store, ['etcd', 'etcd1', 'embedded']),
      rtoMs: numberOf('rto', values.rto),
      canDelay: values.delays,
      canStepClock: true,
      proxy: values['through-proxy'],
      canFreezeDisk: oneOf('disks', values.disks, ['memory', 'blocks']) === 'blocks',
      ...(network === null ? {} : { network }),
    },
    minutes: numberOf('minutes', values.minutes),
    rounds: values.rounds === undefined ? Number.POSITIVE_INFINITY : numberOf('rounds', values.rounds),
    seed: values.seed === undefined ? Math.floor(Math.random() * 1_000_000) : numberOf('seed', values.seed),
    faults: chosen(values.faults, values.without),
    replay: values.replay ?? null,
    breaks:
      values.break === undefined ? null : oneOf<'local' | 'off'>('break', values.break, ['local', 'off']),
    deadEndMs: 1_000 * numberOf('dead-end-s', values['dead-end-s']),
    logs: values.logs ?? null,
    keep: values.keep,
  }
}

function chosen(only: string | undefined, without: string | undefined): readonly string[] | null {
  const known = FAULTS.map(({ name }) => name)
  const listed = (text: string): readonly string[] =>
    text.split(',').map((name) => oneOf('faults', name.trim(), known))
  if (only !== undefined) return listed(only)
  if (without === undefined) return null
  const left = listed(without)
  return known.filter((name) => !left.includes(name))
}

function oneOf<T extends string>(flag: string, value: string, known: readonly T[]): T {
  const found = known.find((each) => each === value)
  if (found === undefined) throw new Error(`--${flag} ${value}: it is one of ${known.join(', ')}`)
  return found
}

function numberOf(flag: string, text: string): number {
  const value = Number(text)
  if (!Number.isFinite(value) || value < 0) throw new Error(`--${flag} ${text} is no number`)
  return value
}
