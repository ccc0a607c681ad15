/** The embedded store as a process of its own (hidden; `understudy up` starts it). */
import { readFile } from 'node:fs/promises'
import { runStoreProcess } from '../../store/main.ts'
import { EXIT } from '../output.ts'

export interface StoreFlags {
  readonly directory: string
  readonly port: number
  readonly tokenFile: string
}

export async function run({ directory, port, tokenFile }: StoreFlags): Promise<number> {
  const ended = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, () => ended.abort(name))
  process.on('SIGHUP', () => {})
  const token = (await readFile(tokenFile, 'utf8')).trim()
  await runStoreProcess({ directory, port, token }, ended.signal)
  return EXIT.done
}
