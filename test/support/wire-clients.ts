/** Clients of one test, on the wire. */
import { afterEach } from 'vitest'
import { WireClient } from './wire-client.ts'

/** Logs clients in, and has them leave when their test is over. To be called where the tests are described. */
export function clientsAt(port: () => number): (port?: number) => Promise<WireClient> {
  const clients: WireClient[] = []
  afterEach(() => {
    for (const client of clients.splice(0)) client.close()
  })
  return async (at = port()) => {
    const client = await WireClient.login({ port: at })
    clients.push(client)
    return client
  }
}
