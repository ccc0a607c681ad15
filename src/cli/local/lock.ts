/**
 * One supervisor per cluster, one agent per node: a lock that the kernel lets go of when its holder dies, however it dies. An
 * abstract unix socket named after the directory's device and inode, so that links and renames do not make two of it (unix(7)).
 */
import { stat } from 'node:fs/promises'
import { createServer, type Server } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

export interface Lock {
  release(): Promise<void>
}

/** null: somebody else holds it. */
export async function acquireLock(directory: string, purpose: string): Promise<Lock | null> {
  const { dev, ino } = await stat(directory)
  const server = createServer((socket) => socket.destroy())
  const taken = await listen(server, `\0understudy-${purpose}-${dev}-${ino}`)
  if (!taken) return null
  server.unref()
  return { release: () => new Promise((resolve) => server.close(() => resolve())) }
}

/**
 * For what takes a second and must not be done twice at once: two authorities that are made together leave the key of one and the
 * certificate of the other.
 */
export async function waitForLock(directory: string, purpose: string): Promise<Lock> {
  for (;;) {
    const lock = await acquireLock(directory, purpose)
    if (lock !== null) return lock
    await sleep(50)
  }
}

function listen(server: Server, name: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(false)
      else reject(error)
    })
    server.listen({ path: name }, () => resolve(true))
  })
}
