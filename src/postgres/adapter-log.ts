/** How this adapter tells what it does, without knowing a logger: the composition root joins it with one. */

export interface AdapterEvent {
  /** warn: a person may want to know; debug: for whoever follows the steps. Failures are returned, not logged. */
  readonly level: 'debug' | 'info' | 'warn'
  readonly message: string
  readonly fields?: Readonly<Record<string, string | number | boolean>>
}

export type AdapterLog = (event: AdapterEvent) => void

export const silentLog: AdapterLog = () => undefined
