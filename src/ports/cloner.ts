/** Makes a standby's data directory from another node, in a process of its own, and puts it in place only when it is whole. */
import type { Outcome } from './postgres.ts'

export interface CloneRequest {
  readonly from: string
  readonly host: string
  readonly port: number
  /** Of the cluster; a source with another one is refused before anything is copied. */
  readonly systemIdentifier: string
  /** Called when the copy is whole, right before it takes its final name: moves aside what is there (I11), or refuses. */
  readonly makeRoom: () => Promise<Outcome>
}

export interface CloneProgress {
  readonly phase: string
  readonly bytesDone: number
  /** null while the source has not said its size. */
  readonly bytesTotal: number | null
}

export interface CloneResult {
  readonly bytes: number
  readonly durationMs: number
}

export interface Cloner {
  clone(
    request: CloneRequest,
    onProgress: (progress: CloneProgress) => void,
    signal: AbortSignal,
  ): Promise<Outcome<CloneResult>>
}

/** Passfiles for primary_conninfo, one per epoch: removing the file is the first step of a fence (I3). */
export interface Passfiles {
  /** The absolute path of a 0600 file that lets the replication user into exactly this upstream. Fails with no-space, no-permission. */
  write(epoch: number, upstream: { readonly host: string; readonly port: number }): Promise<Outcome<string>>
  /** Removes those of every other epoch; null: all of them, which is the first step of a fence (I3b). */
  keepOnly(epoch: number | null): Promise<void>
}
