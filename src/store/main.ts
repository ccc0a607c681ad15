/** The process of the embedded store (`understudy store`): one JSON line on stdout per event, until the signal. */
import { type EmbeddedStoreOptions, startEmbeddedStore } from './embedded-server.ts'

/**
 * Resolves after a clean stop. Rejects with an UnderstudyError when the store cannot start (see startEmbeddedStore) or its disk failed;
 * the process must then end with a status that is not 0, and may be started again.
 */
export async function runStoreProcess(options: EmbeddedStoreOptions, signal: AbortSignal): Promise<void> {
  // Whoever read the log may be gone: the store is not, for that.
  process.stdout.on('error', () => {})
  const log = (line: object): void => {
    process.stdout.write(`${JSON.stringify({ time: new Date().toISOString(), ...line })}\n`)
  }
  const store = await startEmbeddedStore({ log, ...options })
  const stop = (): void => void store.stop()
  signal.addEventListener('abort', stop, { once: true })
  if (signal.aborted) stop()
  const failure = await store.ended
  signal.removeEventListener('abort', stop)
  if (failure !== null) throw failure
}
