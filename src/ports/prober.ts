/** New and held-open connections to another node's agent and PostgreSQL: how a standby learns whether its primary lives. */
import type { Member } from '../core/facts.ts'

export interface ProbeTarget extends Member {
  readonly apiPort: number
  /** Who signed the certificate that its agent shows; null or left out: HTTP without TLS. */
  readonly apiCaFile?: string | null
}

export type ProbePort = 'agent' | 'postgres'

/** answers: a byte came back. An accepted connection is none: a stopped postmaster's port still accepts. */
export type ProbeResult = 'answers' | 'refused' | 'silent'

export interface Prober {
  /** By a NEW connection, within the deadline. No password is needed, and no SCRAM is computed. */
  probe(target: ProbeTarget, port: ProbePort, deadlineMs: number): Promise<ProbeResult>
  /**
   * Keeps a connection open that ends by itself, in milliseconds, when the process at its other end dies. `onOpen` and `onEnd` are
   * called at most once each; the function returned lets go silently.
   */
  hold(target: ProbeTarget, port: ProbePort, onOpen: () => void, onEnd: () => void): () => void
}
