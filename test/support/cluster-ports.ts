/**
 * A range of a hundred ports for one cluster: base+1… PostgreSQL, base+51… agents, base+91 the store. Looking whether ports are free
 * is a race with whoever looks at the same time, so a range is also reserved by a lock that all tests of this machine honour.
 */
import { createServer, type Server } from 'node:net'

/** Below the ports that the kernel gives to outgoing connections (32768 and up), which come and go. */
const LOWEST = 10_000
const RANGES = 220
const NEEDED = [1, 2, 3, 4, 32, 33, 34, 51, 52, 53, 54, 91]

/** Held until this process ends: the kernel lets go of an abstract socket (unix(7)) however its holder dies. */
export async function reservePorts(): Promise<number> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const base = LOWEST + 100 * Math.floor(Math.random() * RANGES)
    const lock = await listen({ path: `\0understudy-test-ports-${base}` })
    if (lock === null) continue
    if (await allFree(base)) return base
    lock.close()
  }
  throw new Error('no free range of ports was found')
}

async function allFree(base: number): Promise<boolean> {
  for (const offset of NEEDED) {
    const server = await listen({ host: '127.0.0.1', port: base + offset, exclusive: true })
    if (server === null) return false
    await new Promise<void>((resolve) => server.close(() => resolve()))
  }
  return true
}

/** null: somebody else has it. */
export function listen(where: {
  path?: string
  host?: string
  port?: number
  exclusive?: boolean
}): Promise<Server | null> {
  return new Promise((resolve) => {
    const server = createServer((socket) => socket.destroy())
    server.once('error', () => resolve(null))
    server.listen(where, () => {
      server.unref()
      resolve(server)
    })
  })
}
