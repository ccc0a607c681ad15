/** One key at a time from a terminal. Raw only while somebody is asked, so that Ctrl-C stays a signal while something is done. */
import { note } from '../output.ts'

export type Key = 'next' | 'yes' | 'no' | 'leave' | 'interrupt'

/** Waits for a key that `meaning` knows; others are ignored. The end of input is a leave, an abort an interrupt. */
export function readKey(
  prompt: string,
  meaning: (text: string) => Key | null,
  signal: AbortSignal,
): Promise<Key> {
  const { stdin } = process
  if (signal.aborted) return Promise.resolve('interrupt')
  return new Promise((resolve) => {
    const finish = (key: Key): void => {
      stdin.off('data', onData).off('end', onEnd)
      signal.removeEventListener('abort', onAbort)
      process.off('exit', restore)
      restore()
      stdin.pause()
      note('')
      resolve(key)
    }
    const onEnd = (): void => finish('leave')
    const onAbort = (): void => finish('interrupt')
    const onData = (data: Buffer): void => {
      const key = keyIn(data.toString('utf8'), meaning)
      if (key !== null) finish(key)
    }
    const restore = (): void => {
      stdin.setRawMode(false)
    }
    process.on('exit', restore)
    signal.addEventListener('abort', onAbort)
    stdin.setRawMode(true).on('data', onData).on('end', onEnd).resume()
    // Last: a key that answers it must find somebody who listens.
    process.stderr.write(prompt)
  })
}

/** What was typed ahead comes as one chunk: the first key that means something counts, and the rest answers no later question. */
export function keyIn(chunk: string, meaning: (text: string) => Key | null): Key | null {
  if (chunk.includes('\u0003')) return 'interrupt'
  // An arrow or a function key: a sequence of characters that are none of their own.
  if (chunk.startsWith('\u001b')) return null
  for (const character of chunk) {
    const key = meaning(character.toLowerCase())
    if (key !== null) return key
  }
  return null
}

export function nextOrLeave(text: string): Key | null {
  if (text === 'q' || text === '\u0004') return 'leave'
  return 'next'
}

export function yesOrNo(text: string): Key | null {
  if (text === 'y') return 'yes'
  if (text === 'n' || text === '\r' || text === '\n') return 'no'
  return text === 'q' || text === '\u0004' ? 'leave' : null
}
