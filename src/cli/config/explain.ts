/**
 * What follows from a configuration: every timer, and what each node's PostgreSQL is given, with the reasons that stand beside the
 * values in the code that uses them. Pure.
 */
import type { ResolvedConfig, ResolvedNode } from '../../config/load.ts'
import { ACKS_REASON, acksFor } from '../../core/primacy.ts'
import { TIMER_RULES } from '../../core/timers.ts'
import { baseSettings, userSet } from '../../postgres/base-configuration.ts'
import { conninfoParts } from '../../postgres/configuration.ts'
import type { ConfigurationInput } from '../../postgres/configuration-input.ts'
import { nodeLayout, slotName } from '../../postgres/layout.ts'
import { parameterVerdict } from '../../postgres/parameters.ts'
import { valueText } from '../../postgres/setting-text.ts'

export interface Explanation {
  readonly cluster: string
  readonly rtoMs: number
  readonly durability: {
    readonly mode: 'quorum' | 'async'
    readonly standbys: number
    /** Acknowledgements that each commit waits for when every standby streams. */
    readonly acks: number
    readonly why: string
  }
  readonly timers: readonly ExplainedTimer[]
  readonly nodes: readonly ExplainedNode[]
}

export interface ExplainedTimer {
  readonly name: string
  readonly ms: number
  readonly from: string
  readonly why: string
}

export interface ExplainedNode {
  readonly node: string
  readonly groups: readonly {
    readonly title: string
    readonly settings: readonly ExplainedSetting[]
  }[]
  readonly refused: readonly { readonly name: string; readonly value: string; readonly why: string }[]
}

export interface ExplainedSetting {
  readonly name: string
  /** null: it is decided on the node's own machine. */
  readonly value: string | null
  /** configuration: the person set it, over a default of ours. */
  readonly origin: 'understudy' | 'configuration'
  readonly from: string | null
  readonly why: string
}

export interface ExplainOptions {
  /** Of the binaries that the nodes run. */
  readonly major: number
  /** Of the file system of the node's directory; null: the node is on another machine. */
  diskBytes(node: ResolvedNode): number | null
}

export function explain(config: ResolvedConfig, options: ExplainOptions): Explanation {
  const standbys = config.nodes.length - 1
  return {
    cluster: config.cluster,
    rtoMs: config.rtoMs,
    durability: {
      mode: config.durability,
      standbys,
      acks: config.durability === 'async' ? 0 : acksFor(standbys),
      why:
        config.durability === 'async'
          ? 'A commit is acknowledged at once: what no standby has yet is lost with its primary.'
          : ACKS_REASON,
    },
    timers: Object.entries(TIMER_RULES).map(([name, { from, why, ms }]) => ({
      name,
      ms: ms(config.rtoMs),
      from,
      why,
    })),
    nodes: config.nodes.map((node) => explainNode(config, node, options)),
  }
}

function explainNode(config: ResolvedConfig, node: ResolvedNode, options: ExplainOptions): ExplainedNode {
  const disk = options.diskBytes(node)
  const input = inputOf(config, node, options.major, disk ?? 0)
  const set = userSet(input)
  const parameters = Object.entries(config.postgres.parameters)
  const ours = baseSettings(input).map(({ title, settings }) => ({
    title,
    settings: settings
      .filter(({ name, yields }) => yields !== true || !set.has(name))
      .map(
        ({ name, value, why, from, ofDisk }): ExplainedSetting => ({
          name,
          value: ofDisk === true && disk === null ? null : valueText(value),
          origin: 'understudy',
          from: from ?? null,
          why,
        }),
      ),
  }))
  const own = parameters
    .filter(([name]) => set.has(name.toLowerCase()))
    .map(([name, value]): ExplainedSetting => {
      const instead = baseSettings(input)
        .flatMap(({ settings }) => settings)
        .find((each) => each.name === name.toLowerCase())
      const why =
        instead === undefined ? 'You set it.' : `You set it, instead of ${valueText(instead.value)}.`
      return { name, value: valueText(value), origin: 'configuration', from: null, why }
    })
  return {
    node: node.name,
    groups: [
      ...(own.length === 0 ? [] : [{ title: 'What you set (postgres.parameters)', settings: own }]),
      ...ours,
      {
        title: 'As a standby: how it reaches its upstream (primary_conninfo)',
        settings: streamOf(config, node, input),
      },
    ],
    refused: parameters.flatMap(([name, value]) => {
      const verdict = parameterVerdict(name, value, options.major)
      return verdict.kind === 'allowed' ? [] : [{ name, value: valueText(value), why: verdict.reason }]
    }),
  }
}

function streamOf(
  config: ResolvedConfig,
  node: ResolvedNode,
  input: ConfigurationInput,
): readonly ExplainedSetting[] {
  const upstream = config.nodes.find(({ name }) => name !== node.name)
  if (upstream === undefined) return []
  const { host, port, name } = upstream
  const passfile = `${node.directory}/secrets/upstream-EPOCH.passfile`
  const anyUpstream = new Set(['host', 'port'])
  const parts = conninfoParts(input, { name, host, port, passfile, rejoining: false }).map(
    (part): ExplainedSetting => ({
      name: part.name,
      value: anyUpstream.has(part.name) ? null : part.value,
      origin: 'understudy',
      from: anyUpstream.has(part.name) ? 'the primary of the epoch' : (part.from ?? null),
      why: part.why,
    }),
  )
  const slot: ExplainedSetting = {
    name: 'primary_slot_name',
    value: slotName(node.name),
    origin: 'understudy',
    from: null,
    why: 'The upstream keeps the WAL that this node has not taken yet.',
  }
  return [...parts, slot]
}

function inputOf(
  config: ResolvedConfig,
  node: ResolvedNode,
  major: number,
  diskBytes: number,
): ConfigurationInput {
  return {
    node: node.name,
    major,
    port: node.port,
    listenAddresses: node.listen,
    socketDirectory: node.socketDirectory,
    layout: nodeLayout(node.directory),
    tls: {
      certificate: config.tls.certFile(node.name),
      key: config.tls.keyFile(node.name),
      ca: config.tls.caFile,
    },
    members: config.nodes,
    parameters: config.postgres.parameters,
    extraHba: config.postgres.hba,
    rtoMs: config.rtoMs,
    diskBytes,
  }
}
