/** A worker's end of the channel to the primary process, which knows the other workers. */
import type { ProxyFleet, ProxyQuestion, ProxyQuestions } from '../ports/proxy-view.ts'
import type { ProxyWorker } from './proxy-worker.ts'
import type { ToPrimary, ToWorker } from './worker-messages.ts'

/** A process with a channel: `process` itself in a worker. */
export interface Channel {
  send?(message: ToPrimary): boolean
  on(event: 'message', listener: (message: ToWorker) => void): unknown
  off(event: 'message', listener: (message: ToWorker) => void): unknown
}

const TELL_CONNECTIONS_EVERY_MS = 100
const ANSWERS_DEADLINE_MS = 10_000

export class WorkerLink implements ProxyFleet {
  readonly #channel: Channel
  readonly #waiting = new Map<number, (answers: readonly unknown[]) => void>()
  #proxy: ProxyWorker | null = null
  #nextId = 1
  #toldConnections = 0
  #timer: NodeJS.Timeout | null = null
  #begin: ((paused: readonly (string | null)[]) => void) | null = null
  #onStop: (drainMs: number) => void = () => {}

  constructor(channel: Channel) {
    this.#channel = channel
    channel.on('message', (message) => this.#take(message))
  }

  /** What the primary process decides before this worker takes its first client. Comes after `serve`. */
  begin(): Promise<readonly (string | null)[]> {
    const begun = new Promise<readonly (string | null)[]>((resolve) => {
      this.#begin = resolve
    })
    this.#say({ say: 'hello' })
    return begun
  }

  /** From now on this worker is asked, and tells how many connections it has. */
  serve(proxy: ProxyWorker, onStop: (drainMs: number) => void): void {
    this.#proxy = proxy
    this.#onStop = onStop
    this.#timer = setInterval(() => this.#tellConnections(), TELL_CONNECTIONS_EVERY_MS)
    this.#timer.unref()
  }

  ready(): void {
    this.#say({ say: 'ready' })
  }

  failed(error: { readonly code: string; readonly message: string; readonly hint: string }): void {
    this.#say({ say: 'failed', ...error })
  }

  drained(hold: string): void {
    this.#say({ say: 'drained', hold })
  }

  cancel(worker: number, processId: number, secretKey: Buffer): void {
    this.#say({ say: 'cancel', worker, processId, secretKey: secretKey.toString('hex') })
  }

  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
  }

  ask<Q extends ProxyQuestion>(
    question: Q,
    input: ProxyQuestions[Q]['input'],
  ): Promise<readonly ProxyQuestions[Q]['answer'][]> {
    const id = this.#nextId++
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(id)
        reject(new Error('the primary process of the proxy does not answer'))
      }, ANSWERS_DEADLINE_MS)
      this.#waiting.set(id, (answers) => {
        clearTimeout(timer)
        resolve(answers as readonly ProxyQuestions[Q]['answer'][])
      })
      this.#say({ say: 'ask', id, question, input })
    })
  }

  #take(message: ToWorker): void {
    switch (message.say) {
      case 'begin':
        this.#begin?.(message.paused)
        return
      case 'stop':
        this.#onStop(message.drainMs)
        return
      case 'clientsElsewhere':
        this.#proxy?.setClientsElsewhere(message.connections)
        return
      case 'cancel':
        this.#proxy?.cancel(message.processId, Buffer.from(message.secretKey, 'hex'))
        return
      case 'ask':
        void this.#answer(message.id, message.question, message.input)
        return
      case 'answers':
        this.#waiting.get(message.id)?.(message.answers)
        this.#waiting.delete(message.id)
        return
      default:
    }
  }

  async #answer(id: number, question: ProxyQuestion, input: unknown): Promise<void> {
    const answer = await this.#proxy?.answer(question, input as ProxyQuestions[ProxyQuestion]['input'])
    this.#say({ say: 'answer', id, answer: answer ?? null })
  }

  #tellConnections(): void {
    const connections = this.#proxy?.connections ?? 0
    if (connections === this.#toldConnections) return
    this.#toldConnections = connections
    this.#say({ say: 'connections', connections })
  }

  #say(message: ToPrimary): void {
    // Without the channel this process is about to end: its primary process has gone.
    try {
      this.#channel.send?.(message)
    } catch {
      // The same.
    }
  }
}
