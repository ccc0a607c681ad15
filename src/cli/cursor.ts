/**
 * Hides the cursor while something is redrawn in place and brings it back however the process ends: a terminal without a
 * cursor is what people remember of a tool that crashed.
 */
import { signalNumber } from './signals.ts'

const HIDE = '\u001b[?25l'
const SHOW = '\u001b[?25h'
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** The returned function shows the cursor again; it can be called twice. */
export function hideCursor(stream: { write(text: string): unknown }): () => void {
  let hidden = true
  const show = (): void => {
    if (!hidden) return
    hidden = false
    process.off('exit', show)
    for (const signal of SIGNALS) process.off(signal, onSignal)
    stream.write(SHOW)
  }
  const onSignal = (signal: NodeJS.Signals): void => {
    // Where nobody else handles the signal, listening has just taken away its default: end as it would have ended.
    const alone = process.listenerCount(signal) === 1
    show()
    if (alone) process.exit(128 + signalNumber(signal))
  }
  process.on('exit', show)
  for (const signal of SIGNALS) process.on(signal, onSignal)
  stream.write(HIDE)
  return show
}
