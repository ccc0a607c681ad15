/**
 * What a set-up by hand needs to know: the configuration, the programs, who owns the servers, and for each node what the agent would be
 * given to configure it. Pure.
 */
import { isLoopback } from '../../config/fields.ts'
import type { ResolvedConfig, ResolvedNode } from '../../config/load.ts'
import { acksFor, carriedBy, type Rule, synchronousStandbyNames } from '../../core/primacy.ts'
import type { ReplicationConfiguration } from '../../ports/postgres.ts'
import type { ConfigurationInput } from '../../postgres/configuration-input.ts'
import { inputOf } from '../config/explain.ts'

export interface Scene {
  readonly config: ResolvedConfig
  readonly major: number
  /** Where initdb, pg_basebackup, psql and so on are. */
  readonly binDir: string
  /** The user of the operating system that the servers run as. */
  readonly owner: string
  /** It is not whoever follows this: directories have to be made by root. */
  readonly byRoot: boolean
  /** Of each node's disk, by its name; assumed where the node is another machine. */
  readonly diskBytes: ReadonlyMap<string, number>
  /** Nodes of this machine whose data directory is there already. */
  readonly taken: readonly string[]
  /** Of the primary; the first one begins epoch 1. */
  readonly epoch: number
  readonly primary: ResolvedNode
  readonly standbys: readonly ResolvedNode[]
}

/** What a node's disk is taken for while nobody has looked. */
export const ASSUMED_DISK_BYTES = 50 * 1024 ** 3

export function inputFor(scene: Scene, node: ResolvedNode): ConfigurationInput {
  return inputOf(scene.config, node, scene.major, scene.diskBytes.get(node.name) ?? ASSUMED_DISK_BYTES)
}

/** One machine has nothing to be copied between servers. */
export function isOneMachine({ config }: Scene): boolean {
  return config.nodes.every(({ host }) => isLoopback(host))
}

/** The rule of commits when every standby streams; one standby alone is asked for, too, when a person wants that. */
export function ruleOf({ epoch, primary, standbys }: Scene): Rule {
  const acks = Math.max(1, acksFor(standbys.length))
  return { epoch, primary: primary.name, acks, standbys: standbys.map(({ name }) => name) }
}

/** A standby carries what it would need as primary (I5). */
export function synchronousNamesOf(scene: Scene, node: ResolvedNode): string {
  const rule = ruleOf(scene)
  return synchronousStandbyNames(node.name === rule.primary ? rule : carriedBy(node.name, rule))
}

export function upstreamPassfile({ epoch }: Scene, node: ResolvedNode): string {
  return `${node.directory}/secrets/upstream-${epoch}.passfile`
}

export function superuserPassfile(node: ResolvedNode): string {
  return `${node.directory}/secrets/superuser.passfile`
}

export function upstreamOf(
  scene: Scene,
  node: ResolvedNode,
): NonNullable<ReplicationConfiguration['upstream']> {
  const { name, host, port } = scene.primary
  return { name, host, port, passfile: upstreamPassfile(scene, node), rejoining: false }
}

/** What the node is before commits wait for anybody. */
export function replicationOf(
  scene: Scene,
  node: ResolvedNode,
  synchronousStandbyNames = '',
): ReplicationConfiguration {
  const isPrimary = node.name === scene.primary.name
  return {
    role: isPrimary ? 'primary' : 'standby',
    upstream: isPrimary ? null : upstreamOf(scene, node),
    synchronousStandbyNames,
  }
}
