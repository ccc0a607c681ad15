/** What a station of the tour tells: what a person would type and why, what to look at, and what the cluster has just said. */
import type { ChangeResult } from '../change-result.ts'

/** Each value as psql shows it; null is NULL. */
export type Row = Readonly<Record<string, string | null>>

export interface Typed {
  readonly kind: 'sql' | 'file' | 'command'
  /** The server on which it is typed; null: on any. */
  readonly on: string | null
  /** Of a file. */
  readonly path?: string
  readonly text: string
}

export interface Seen {
  /** Who said it; null: the cluster. */
  readonly on: string | null
  /** The query, as it was sent, or what was looked at in words. */
  readonly asked: string
  readonly rows: readonly Row[]
  readonly lines: readonly string[]
}

/** Before anything is asked or done. */
export interface Told {
  readonly why: readonly string[]
  readonly typed: readonly Typed[]
  readonly look: readonly string[]
  /** What is asked before it is done; null: it only looks. */
  readonly question: string | null
  /** Why it is not done on this cluster, whatever a person answers; null: it can be done. */
  readonly obstacle: string | null
}

export interface Outcome {
  readonly seen: readonly Seen[]
  readonly change?: ChangeResult
}

export interface Station {
  readonly id: string
  readonly title: string
  tell(): Promise<Told>
  /** Looks, or does what the question was about. */
  visit(): Promise<Outcome>
}

/** One station with what came of it: the object of --json. */
export interface TourStep extends Omit<Told, 'question' | 'obstacle'>, Outcome {
  readonly number: number
  readonly id: string
  readonly title: string
  /** shown: looked at; done: it has changed the cluster; skipped: see reason. */
  readonly result: 'shown' | 'done' | 'skipped'
  readonly reason: string | null
}

export const LOOKS_ONLY = { question: null, obstacle: null } as const
