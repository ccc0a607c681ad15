/** What a proxy's primary process and its workers say to each other. Both are of one program and one start. */
import type { ProxyQuestion } from '../ports/proxy-view.ts'

/** A question and the answer to it have the same `id`, which is of whoever asks. */
export type ToWorker =
  /** It may begin; databases that an operator has paused, null for all of them. */
  | { readonly say: 'begin'; readonly paused: readonly (string | null)[] }
  | { readonly say: 'stop'; readonly drainMs: number }
  | { readonly say: 'clientsElsewhere'; readonly connections: number }
  | { readonly say: 'cancel'; readonly processId: number; readonly secretKey: string }
  | { readonly say: 'ask'; readonly id: number; readonly question: ProxyQuestion; readonly input: unknown }
  | { readonly say: 'answers'; readonly id: number; readonly answers: readonly unknown[] }

export type ToPrimary =
  | { readonly say: 'hello' }
  | { readonly say: 'ready' }
  /** It could not begin, and ends. */
  | { readonly say: 'failed'; readonly code: string; readonly message: string; readonly hint: string }
  | { readonly say: 'drained'; readonly hold: string }
  | { readonly say: 'connections'; readonly connections: number }
  | {
      readonly say: 'cancel'
      readonly worker: number
      readonly processId: number
      readonly secretKey: string
    }
  | { readonly say: 'ask'; readonly id: number; readonly question: ProxyQuestion; readonly input: unknown }
  | { readonly say: 'answer'; readonly id: number; readonly answer: unknown }
