/**
 * The invariants, checked at the moment when something happens that they are about. The heart: acknowledged commits must form one
 * chain. Two primaries that obtain acknowledgements, a commit that a later primary lacks, an acknowledgement that comes late for a
 * commit that was lost: each breaks the chain.
 */
import type { Ballot } from '../src/core/ballot.ts'
import { comparePositions } from '../src/core/ballot.ts'
import { rulesToSatisfy } from '../src/core/election.ts'
import {
  currentRule,
  type Primacy,
  type Rule,
  sameRule,
  synchronousStandbyNames,
} from '../src/core/primacy.ts'
import { timersOf } from '../src/core/timers.ts'
import type { Connection, PostgresRun, SimNode } from './node.ts'
import { STORE_DEADLINE_MS } from './store.ts'
import { endOf, isPrefix, type WalRecord } from './wal.ts'
import type { World } from './world.ts'

export class Violation extends Error {}

export class Checks {
  readonly #world: World
  /** Index -> record, of everything acknowledged so far under rules that wait for standbys. */
  #chain: WalRecord[] = []
  /** Everything that clients were told to be safe, in the order of being told. */
  readonly #promised: WalRecord[] = []
  /** What each node acknowledged last without waiting for anybody. */
  readonly #alone = new Map<string, WalRecord>()
  #acknowledged = 0
  /** Which epoch allocated a timeline, and for whom. */
  readonly #allocated = new Map<number, { readonly epoch: number; readonly node: string }>()
  readonly #begun = new Map<number, string>()
  readonly #named = new Set<string>()
  /** When the newest primary became writable without waiting for anybody, and its epoch (I10). */
  #newestWritable = { epoch: 0, atMs: 0, node: '' }
  readonly #votedAtMs = new Map<string, number>()
  #electedAtMs = 0
  readonly #unwatchedUntil = new Map<string, number>()

  constructor(world: World) {
    this.#world = world
  }

  get acknowledged(): number {
    return this.#acknowledged
  }

  fail(invariant: string, sentence: string): never {
    this.#world.trace('checks', invariant, sentence)
    throw new Violation(`${invariant}: ${sentence}`)
  }

  /** A mistake of the modelled shell, not of the decision. */
  shell(sentence: string): never {
    return this.fail('shell', sentence)
  }

  begun(primacy: Primacy): void {
    this.#allocated.set(primacy.timelineId, { epoch: primacy.epoch, node: primacy.primary })
    this.#begun.set(primacy.timelineId, primacy.primary)
    this.#named.add(`${primacy.epoch} ${primacy.primary}`)
  }

  // ---- the document

  primacyWritten(before: Primacy, next: Primacy, by: string): void {
    const rules = next.rules.map((each) => `${each.acks}{${each.standbys}}@${each.primary}`).join(' ')
    const what = `epoch ${next.epoch} ${next.phase} ${next.primary} timeline ${next.timelineId} rules ${rules}${next.nextRule === null ? '' : ` next ${next.nextRule.acks}{${next.nextRule.standbys}}`}`
    this.#world.trace(by, 'PRIMACY', what)
    if (next.epoch < before.epoch || next.epoch > before.epoch + 1)
      this.fail('I1', `epoch goes from ${before.epoch} to ${next.epoch}`)
    if (next.epoch === before.epoch + 1 && next.phase !== 'electing')
      this.fail('I1', `epoch ${next.epoch} does not begin with electing`)
    if (next.epoch === before.epoch && next.primary !== before.primary && before.phase !== 'electing')
      this.fail('I1', `two primaries in epoch ${next.epoch}: ${before.primary} and ${next.primary}`)
    if (next.epoch > before.epoch) this.#nothingForgotten(rulesToSatisfy(before), next)
    if (next.phase === 'promoting' && before.phase === 'electing') this.#elected(before, next)
    if (next.phase === 'steady' && before.phase === 'promoting') this.#steady(next)
  }

  /** Put back after the store had forgotten it. What nobody has seen of the truth did not happen. */
  recovered(truth: Primacy, next: Primacy): void {
    this.#world.trace('operator', 'RECOVERED', `epoch ${next.epoch} above ${truth.epoch}`)
    this.#world.count('store recovered by an operator')
    const unseen = [...this.#allocated.keys()].filter((each) => each > next.highestTimelineId)
    for (const timelineId of unseen) {
      if (this.#begun.has(timelineId))
        this.fail('I6', `timeline ${timelineId} was begun, and is to be allocated once more`)
      this.#allocated.delete(timelineId)
    }
    const promised = this.#world.nodes.find(({ state }) => state.promised >= next.epoch)
    if (promised !== undefined)
      this.fail(
        'I1',
        `${promised.name} has promised epoch ${promised.state.promised}, and ${next.epoch} is put back`,
      )
  }

  #elected(before: Primacy, next: Primacy): void {
    this.#named.add(`${next.epoch} ${next.primary}`)
    this.#electedAtMs = this.#world.loop.now
    if (this.#allocated.has(next.timelineId))
      this.fail('I6', `timeline ${next.timelineId} is allocated twice`)
    this.#allocated.set(next.timelineId, { epoch: next.epoch, node: next.primary })
    this.#nothingForgotten(before.rules, next)
    this.#mostAdvanced(before, next)
  }

  /**
   * I2 and I4, by the ballots alone: those that are not ahead of the winner must be enough for every rule. A vote that came while the others
   * were counted may be ahead: what it has more was acknowledged to nobody.
   */
  #mostAdvanced(before: Primacy, next: Primacy): void {
    const ballots = this.#world.store.ballots.filter((each) => each.epoch === next.epoch)
    const winner = ballots.find((each) => each.node === next.primary)
    if (winner === undefined || winner.gone) this.fail('I4', `${next.primary} is elected without a vote`)
    const behind = ballots.filter((each) => comparePositions(each.position, winner.position) <= 0)
    const voters = new Set(behind.map((each) => each.node))
    const unsure = rulesToSatisfy(before).find((rule) => {
      if (rule.acks === 0 || voters.has(rule.primary)) return false
      return rule.standbys.filter((name) => voters.has(name)).length + rule.acks <= rule.standbys.length
    })
    if (unsure !== undefined)
      this.fail(
        'I2',
        `${winner.node} is elected in epoch ${next.epoch} by ${[...voters].sort()}, and a commit under ${unsure.acks} of ${unsure.standbys} of ${unsure.primary} may be with the others`,
      )
  }

  #nothingForgotten(rules: readonly Rule[], next: Primacy): void {
    const lost = rules.find((rule) => !next.rules.some((each) => sameRule(each, rule)))
    if (lost !== undefined)
      this.fail(
        'I2',
        `the rule of epoch ${lost.epoch} is forgotten in epoch ${next.epoch} before anybody follows`,
      )
  }

  #steady(next: Primacy): void {
    const node = this.#world.node(next.primary)
    // What was written while its disk was being lost was true before: the others of its rule have it.
    if (node.disk.present) this.#mustHave(node, `steady in epoch ${next.epoch}`)
    const rule = currentRule(next)
    const { run } = node
    const first = node.disk.wal.find((each) => each.timelineId === next.timelineId)
    if (run === null || rule.acks === 0 || first === undefined) return
    // What was flushed when it was proven, and is gone with its disk.
    if (rule.standbys.some((name) => this.#world.disksLost.has(name))) return
    if (this.#flushedBy(node, first, rule) < rule.acks)
      this.fail(
        'I2',
        `epoch ${next.epoch} is steady before ${rule.acks} of ${rule.standbys} have anything of timeline ${next.timelineId}`,
      )
  }

  /** One by one, whatever the place of the last one says. */
  #mustHaveAll(node: SimNode, when: string): void {
    const { wal } = node.disk
    const lost = this.#chain.find((record, at) => wal[at] !== record)
    if (lost !== undefined)
      this.fail(
        'P1',
        `${node.name}, ${when}, lacks acknowledged commit #${lost.id} at ${lost.start} of timeline ${lost.timelineId}`,
      )
  }

  #mustHave(node: SimNode, when: string): void {
    const last = this.#chain.at(-1)
    if (last === undefined) return
    if (node.disk.wal[last.index] !== last)
      this.fail(
        'P1',
        `${node.name}, ${when}, lacks acknowledged commit #${last.id} at ${last.start} of timeline ${last.timelineId}`,
      )
  }

  // ---- acknowledgements

  /** PostgreSQL of `node` acknowledges a commit to a client. */
  acknowledge(node: SimNode, record: WalRecord): void {
    this.#acknowledged++
    const primacy = this.#world.store.truth
    if (primacy === undefined) return
    if (this.#world.unprotected(primacy)) {
      this.#acknowledgeAlone(node, record)
      return
    }
    this.#promised.push(record)
    const known = this.#chain[record.index]
    if (known !== undefined || record.index < this.#chain.length) {
      if (known !== record)
        this.fail(
          'P2',
          `${node.name} acknowledges commit #${record.id} of timeline ${record.timelineId}, where another one was acknowledged`,
        )
      return
    }
    this.#mustObeyRule(primacy, node, record)
    this.#mustHave(node, `acknowledging commit #${record.id}`)
    this.#mustBeInheritedBy(primacy, node, record)
    const { wal } = node.disk
    for (let i = this.#chain.length; i <= record.index; i++) {
      const each = wal[i]
      if (each !== undefined) this.#chain.push(each)
    }
  }

  #flushedBy(node: SimNode, record: WalRecord, rule: Rule): number {
    const has = (name: string): boolean => {
      const { disk } = this.#world.node(name)
      const onDisk = disk.wal[record.index] === record && disk.flushed > record.index
      return onDisk || (node.run?.walsenders.get(name)?.flushed ?? 0) > record.index
    }
    return rule.standbys.filter(has).length
  }

  /** I2 rests on it: whatever is acknowledged fulfils a rule that the store names at that moment. */
  #mustObeyRule(primacy: Primacy, node: SimNode, record: WalRecord): void {
    const own = primacy.primary === node.name && primacy.phase !== 'electing'
    if (!own || this.#allocated.get(record.timelineId)?.epoch !== primacy.epoch) return
    const rules = rulesToSatisfy(primacy).filter((rule) => rule.primary === node.name)
    if (rules.some((rule) => this.#flushedBy(node, record, rule) >= rule.acks)) return
    // What was flushed and is gone with its disk.
    if (rules.some((rule) => rule.standbys.some((name) => this.#world.disksLost.has(name)))) return
    this.fail(
      'I2',
      `${node.name} acknowledges commit #${record.id} of timeline ${record.timelineId} under none of the rules in the store`,
    )
  }

  /** However late it comes: the primary that is steady by now must have it. */
  #mustBeInheritedBy(primacy: Primacy, node: SimNode, record: WalRecord): void {
    if (primacy.phase !== 'steady' || primacy.primary === node.name) return
    if ((this.#allocated.get(record.timelineId)?.epoch ?? 0) >= primacy.epoch) return
    const primary = this.#world.node(primacy.primary)
    if (primary.disk.wal[record.index] !== record)
      this.fail(
        'P2',
        `${node.name} acknowledges commit #${record.id} late, and ${primary.name}, primary of epoch ${primacy.epoch}, lacks it`,
      )
  }

  /** Commits that wait for nobody: what the new primary lacks is lost; the old one must have stopped before the new one begins. */
  #acknowledgeAlone(node: SimNode, record: WalRecord): void {
    const epoch = this.#allocated.get(record.timelineId)?.epoch ?? 0
    this.#alone.set(node.name, record)
    const newest = this.#newestWritable
    if (newest.epoch <= epoch || newest.node === node.name) return
    if (!node.agent.alive || node.agent.frozen) return
    const { rtoMs, loop } = this.#world
    const windowMs = timersOf(rtoMs).primaryLeaseMs + 2_000
    if (loop.now < (this.#unwatchedUntil.get(node.name) ?? 0) + windowMs) return
    this.fail(
      'I10',
      `${node.name} of epoch ${epoch} acknowledges commit #${record.id} although ${newest.node} of epoch ${newest.epoch} is writable since ${Math.round(newest.atMs)}, and its agent ran all the time`,
    )
  }

  /** Its agent was frozen or dead: in async mode that is the documented exposure. */
  unwatched(node: SimNode): void {
    this.#unwatchedUntil.set(node.name, this.#world.loop.now)
  }

  // ---- PostgreSQL

  writable(node: SimNode, run: PostgresRun): void {
    const allocated = this.#allocated.get(run.timelineId)
    const epoch = allocated?.epoch ?? 0
    if (allocated?.node !== node.name)
      this.fail(
        'I7',
        `${node.name} is writable on timeline ${run.timelineId}, which is ${allocated === undefined ? 'nobody’s' : `${allocated.node}’s`}`,
      )
    const primacy = this.#world.store.truth
    const alone = primacy?.epoch === epoch && primacy.phase === 'promoting' && currentRule(primacy).acks === 0
    // What was on its disk of it may be lost; the store knows who holds it.
    const holds = node.state.lease !== null || this.#world.statesLost.has(node.name)
    if (alone && !holds)
      this.fail(
        'I10',
        `${node.name} becomes writable in epoch ${epoch} without acknowledgements and without the lease`,
      )
    if (epoch > this.#newestWritable.epoch)
      this.#newestWritable = { epoch, atMs: this.#world.loop.now, node: node.name }
    if (primacy?.epoch === epoch && primacy.phase === 'promoting') this.#promoted(node, run, primacy)
  }

  /** The moment from which on it can acknowledge: it must have everything, and commits must wait for its rule (I5). */
  #promoted(node: SimNode, run: PostgresRun, primacy: Primacy): void {
    this.#mustHaveAll(node, `promoted in epoch ${primacy.epoch}`)
    const own = rulesToSatisfy(primacy).filter((rule) => rule.epoch === primacy.epoch)
    const names = own.map((rule) => synchronousStandbyNames(rule))
    if (!names.includes(run.namesOfCheckpointer))
      this.fail(
        'I5',
        `${node.name} is writable, and commits wait for ${run.namesOfCheckpointer}, not ${names}`,
      )
    // Where commits wait for nobody: what a primary acknowledged that voted itself is not lost either.
    for (const { primary } of primacy.rules) {
      const voted = this.#hasVotedInTime(primary, primacy)
      const record = this.#alone.get(primary)
      if (!voted || record === undefined || this.#world.disksLost.has(primary)) continue
      if (node.disk.wal[record.index] !== record && this.#isOf(record, primacy))
        this.fail(
          'P1',
          `${node.name} lacks commit #${record.id}, which ${primary} had acknowledged and voted`,
        )
    }
    // What it lacks is lost from now on, whoever is elected after it.
    for (const [name, record] of this.#alone)
      if (node.disk.wal[record.index] !== record) this.#alone.delete(name)
  }

  /** Long enough before the end of the election that whoever counted must have read it. */
  #hasVotedInTime(name: string, primacy: Primacy): boolean {
    const votedAtMs = this.#votedAtMs.get(`${primacy.epoch} ${name}`)
    return votedAtMs !== undefined && votedAtMs + 4 * STORE_DEADLINE_MS < this.#electedAtMs
  }

  /** Whether a record belongs to what the election of this epoch decided about, and not to a life that ended before. */
  #isOf(record: WalRecord, primacy: Primacy): boolean {
    const epoch = this.#allocated.get(record.timelineId)?.epoch ?? 0
    return primacy.rules.some((rule) => rule.epoch === epoch)
  }

  timelineBegun(node: SimNode, timelineId: number): void {
    const allocated = this.#allocated.get(timelineId)
    if (allocated?.node !== node.name)
      this.fail(
        'I6',
        `${node.name} begins timeline ${timelineId}, which is allocated to ${allocated?.node ?? 'nobody'}`,
      )
    if (this.#begun.has(timelineId))
      this.fail(
        'I6',
        `timeline ${timelineId} is begun twice, by ${this.#begun.get(timelineId)} and ${node.name}`,
      )
    this.#begun.set(timelineId, node.name)
  }

  streaming(node: SimNode, connection: Connection): void {
    this.received(node, connection)
  }

  /** I3: whoever has voted takes no WAL on a connection of an older epoch. */
  received(node: SimNode, connection: Connection): void {
    if (connection.epoch < node.votedIn)
      this.fail(
        'I3',
        `${node.name} voted in epoch ${node.votedIn} and takes WAL of ${connection.from.name} by a connection of epoch ${connection.epoch}`,
      )
  }

  /** PostgreSQL itself refuses. A mistake of the decision only when it was made for this epoch's primary, and what is here is not its. */
  refusedStream(node: SimNode, upstream: SimNode, epoch: number): void {
    const primacy = this.#world.store.truth
    if (primacy?.epoch !== epoch || primacy.primary !== upstream.name) return
    const common = Math.min(node.disk.wal.length, upstream.disk.wal.length)
    if (isPrefix(node.disk.wal, common, upstream.disk.wal)) return
    this.fail(
      'I8',
      `${node.name} (timeline ${node.disk.timelineId()} at ${node.disk.end()}) asks ${upstream.name} (timeline ${upstream.run?.timelineId}) for WAL although it is not within its history`,
    )
  }

  foreignStream(node: SimNode, upstream: SimNode): void {
    this.fail(
      'I8',
      `${node.name} streams foreign WAL from ${upstream.name}: the same positions hold something else`,
    )
  }

  /** I11: what only this directory has of acknowledged commits would be gone. */
  replaced(
    node: SimNode,
    old: readonly WalRecord[],
    fresh: readonly WalRecord[],
    from: { readonly name: string },
  ): void {
    this.#world.trace(node.name, 'replaced', `from ${from.name}, now at ${endOf(fresh)}`)
    const last = this.#chain.at(-1)
    if (last === undefined || old[last.index] !== last || fresh[last.index] === last) return
    this.fail('I11', `${node.name} throws acknowledged commit #${last.id} away for what ${from.name} has`)
  }

  /** I11: a rewind destroys a copy. Without it the loss of one node must still be survived. */
  openedUp(node: SimNode): void {
    const world = this.#world
    const last = this.#chain.at(-1)
    if (last === undefined || node.disk.wal[last.index] !== last || world.disksLost.size > 0) return
    const others = world.nodes.filter((each) => {
      const { disk } = each
      return each !== node && !disk.garbage && disk.wal[last.index] === last && disk.flushed > last.index
    })
    if (others.length < 2)
      this.fail(
        'I11',
        `${node.name} opens its data up while only ${others.map((each) => each.name)} has all of it`,
      )
  }

  /** From now on its vote is worth something again (I12). */
  cloned(node: SimNode): void {
    node.lostData = false
  }

  ballotWritten(ballot: Ballot): void {
    const node = this.#world.node(ballot.node)
    this.#world.trace(
      node.name,
      'BALLOT',
      `epoch ${ballot.epoch} timeline ${ballot.position.timelineId} at ${ballot.position.lsn}${ballot.gone ? ', gone' : ''}`,
    )
    if (node.state.promised < ballot.epoch && !this.#world.statesLost.has(node.name))
      this.fail('I3', `${node.name} votes in epoch ${ballot.epoch} without having promised it`)
    const primacy = this.#world.store.primacy?.value
    if (primacy?.epoch !== ballot.epoch || primacy.phase !== 'electing') return
    node.votedIn = Math.max(node.votedIn, ballot.epoch)
    if (!ballot.gone) this.#votedAtMs.set(`${ballot.epoch} ${ballot.node}`, this.#world.loop.now)
    if (ballot.gone || !node.disk.present) return
    if (node.lostData)
      this.fail('I12', `${node.name} votes although it has lost what it may have acknowledged`)
    const { disk } = node
    const has = { timelineId: disk.timelineId(), lsn: BigInt(endOf(disk.wal)) as never }
    const says = ballot.position
    if (comparePositions(says, has) < 0)
      this.fail(
        'I3',
        `${node.name} votes ${says.timelineId}/${says.lsn} but has ${has.timelineId}/${has.lsn}`,
      )
  }

  // ---- at rest

  /** Nobody writes any more: null when every node has the same, and everything that was ever acknowledged; otherwise who lags behind. */
  atRest(nodes: readonly SimNode[]): string | null {
    const primacy = this.#world.store.primacy?.value
    const primary = nodes.find((each) => each.name === primacy?.primary)
    if (primary === undefined) return 'there is no primary'
    const { wal } = primary.disk
    const behind = nodes.find((each) => each.disk.wal.length < wal.length)
    if (behind !== undefined) return `${behind.name} has not taken everything`
    for (const node of nodes) {
      const differs = wal.findIndex((record, at) => node.disk.wal[at] !== record)
      if (
        differs >= 0 ||
        node.disk.wal.length !== wal.length ||
        node.run?.timelineId !== primary.run?.timelineId
      )
        this.fail('P1', `at rest ${node.name} differs from ${primary.name}, from record ${differs} on`)
    }
    const lost = this.#promised.find((record) => wal[record.index] !== record)
    if (lost !== undefined)
      this.fail(
        'P1',
        `at rest commit #${lost.id} of timeline ${lost.timelineId} is lost, which was acknowledged`,
      )
    return null
  }
}
