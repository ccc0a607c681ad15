/**
 * One server per directory. The lock is an abstract unix socket (Linux) whose name is the directory's device and inode: the kernel
 * releases it at the holder's death, however that comes, and no file is left that could lie. It holds within one network namespace; who
 * shares a directory between containers must start one store only.
 */
import { type BigIntStats, statSync } from 'node:fs'
import * as net from 'node:net'
import { UnderstudyError } from '../../errors/codes.ts'
import { errorCode } from './disk.ts'

export interface DirectoryLock {
  release(): Promise<void>
}

/** Rejects with 'already-running' when another server holds it. */
export async function lockDirectory(directory: string): Promise<DirectoryLock> {
  const stats: BigIntStats = statSync(directory, { bigint: true })
  const server = net.createServer((connection) => connection.destroy())
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => {
      const taken = errorCode(error) === 'EADDRINUSE'
      reject(taken ? new UnderstudyError('already-running', `a store already serves ${directory}`) : error)
    })
    server.listen({ path: `\0understudy-store-${stats.dev}-${stats.ino}`, exclusive: true }, resolve)
  })
  return {
    release: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
      }),
  }
}
