/**
 * The beginning of an answer that tells nothing yet (what the rows will look like), kept back: as long as nothing of it was passed on, the
 * same statement can be asked elsewhere and nobody sees a difference. Pure.
 */
import { BACKEND } from '../../protocol/message-types.ts'

/** A description of rows is longer than that only with thousands of columns. */
const MAX_BYTES = 64 * 1024

/** The statement was in the way of replay; one that stands alone, and reads only, is told 40001 for nothing else. */
export const SAID_IN_CONFLICTS: ReadonlySet<string> = new Set(['40001'])
/** 25006: it would have had to write. 0A000 and 55000: "… during recovery". A primary that says the same says it to the client. */
export const SAID_BY_STANDBYS: ReadonlySet<string> = new Set(['25006', '40001', '0A000', '55000'])

const TELLING_NOTHING: ReadonlySet<number> = new Set([
  BACKEND.ParseComplete,
  BACKEND.BindComplete,
  BACKEND.CloseComplete,
  BACKEND.RowDescription,
  BACKEND.ParameterDescription,
  BACKEND.NoData,
  BACKEND.NoticeResponse,
  BACKEND.ParameterStatus,
  BACKEND.CopyOutResponse,
])

export class WithheldAnswer {
  readonly #pieces: Buffer[] = []
  #bytes = 0
  /** SQLSTATEs that are for nobody: another node is asked then. */
  readonly codes: ReadonlySet<string>
  /** The one that came. */
  refusal: string | null = null

  constructor(codes: ReadonlySet<string>) {
    this.codes = codes
  }

  get pieces(): readonly Buffer[] {
    return this.#pieces
  }

  /** False when it has become too long to be kept. */
  keep(piece: Buffer): boolean {
    this.#pieces.push(piece)
    this.#bytes += piece.length
    return this.#bytes <= MAX_BYTES
  }
}

export function tellsNothing(type: number): boolean {
  return TELLING_NOTHING.has(type)
}
