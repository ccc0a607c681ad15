/**
 * What stands in the store, change by change and within milliseconds: for whoever must do something at a certain step of an election.
 * Each change is shown in its order, so that a phase that lasts for a moment is not missed.
 */
import { composeStore } from '../../src/cli/compose.ts'
import { type Ballot, parseBallot } from '../../src/core/ballot.ts'
import type { NodeReport } from '../../src/core/cluster-view.ts'
import { formatPrimacy, type Primacy, parsePrimacy } from '../../src/core/primacy.ts'
import type { KeyValue, Store, WatchEvent } from '../../src/ports/store.ts'
import { parseReports } from '../../src/store/documents.ts'
import { type ClusterKeys, clusterKeys } from '../../src/store/keys.ts'
import type { Lab } from './lab.ts'

export interface Seen {
  readonly primacy: Primacy | null
  readonly reports: ReadonlyMap<string, NodeReport>
  /** By node; those of primacy's epoch. */
  readonly ballots: ReadonlyMap<string, Ballot>
}

type Waiting = (seen: Seen) => void

const DEADLINE_MS = 60_000
const RETRY_MS = 100

export class Sight {
  readonly #lab: Lab
  readonly #store: Store
  readonly #keys: ClusterKeys
  readonly #closed = new AbortController()
  readonly #documents = new Map<string, string>()
  readonly #waiting = new Set<Waiting>()
  #seen: Seen = { primacy: null, reports: new Map(), ballots: new Map() }

  private constructor(lab: Lab, store: Store) {
    this.#lab = lab
    this.#store = store
    this.#keys = clusterKeys(lab.config.cluster)
  }

  static async open(lab: Lab): Promise<Sight> {
    const sight = new Sight(lab, await composeStore(lab.config))
    const revision = await sight.#readAll()
    sight.#store.watch(
      sight.#keys.all,
      revision + 1n,
      { onEvents: (events) => sight.#changed(events), onGap: () => void sight.#readAll() },
      sight.#closed.signal,
    )
    return sight
  }

  get now(): Seen {
    return this.#seen
  }

  /** The first time that `look` gives something, now or after a change; then that. */
  async until<T>(
    what: string,
    look: (seen: Seen) => T | null | undefined | false,
    deadlineMs = DEADLINE_MS,
  ): Promise<T> {
    const first = look(this.#seen)
    if (first !== null && first !== undefined && first !== false) return first
    return new Promise<T>((resolve, reject) => {
      const waiting: Waiting = (seen) => {
        const value = look(seen)
        if (value === null || value === undefined || value === false) return
        clearTimeout(timer)
        this.#waiting.delete(waiting)
        resolve(value)
      }
      const timer = setTimeout(() => {
        this.#waiting.delete(waiting)
        const { primacy } = this.#seen
        const message = `waited ${deadlineMs} ms in vain for ${what}\nprimacy: ${primacy === null ? 'none' : formatPrimacy(primacy)}`
        void this.#lab.explain(message).then((text) => reject(new Error(text)))
      }, deadlineMs)
      this.#waiting.add(waiting)
    })
  }

  close(): void {
    this.#closed.abort()
    this.#store.close()
  }

  /** Again and again while the store does not answer. */
  async #readAll(): Promise<bigint> {
    while (!this.#closed.signal.aborted) {
      const listed = await this.#store.list(this.#keys.all)
      if (listed.kind === 'ok') {
        this.#documents.clear()
        for (const { key, value } of listed.value.entries) this.#documents.set(key, value)
        this.#show()
        return listed.value.revision
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
    }
    return 0n
  }

  #changed(events: readonly WatchEvent[]): void {
    for (const { key, value } of events) {
      if (value === null) this.#documents.delete(key)
      else this.#documents.set(key, value)
      this.#show()
    }
  }

  #show(): void {
    const text = this.#documents.get(this.#keys.primacy)
    const primacy = text === undefined ? null : parsePrimacy(text)
    const reports = parseReports(this.#below(this.#keys.nodes))
    const cast = primacy === null ? [] : this.#below(this.#keys.ballotsOf(primacy.epoch))
    const ballots = cast.map(({ value }) => parseBallot(value)).filter((ballot) => ballot !== null)
    this.#seen = {
      primacy,
      reports: new Map(reports.map((report) => [report.name, report])),
      ballots: new Map(ballots.map((ballot) => [ballot.node, ballot])),
    }
    for (const waiting of [...this.#waiting]) waiting(this.#seen)
  }

  #below(prefix: string): readonly KeyValue[] {
    const none = { createRevision: 0n, modRevision: 0n, version: 0n, leaseId: 0n }
    return [...this.#documents]
      .filter(([key]) => key.startsWith(prefix))
      .map(([key, value]) => ({ key, value, ...none }))
  }
}
