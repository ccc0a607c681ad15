/** A relay between a client and a server that flips one bit of what the server sends: the first byte of a marker. */
import { connect, createServer, type Socket } from 'node:net'

export interface FlippingRelay {
  readonly port: number
  /** How many markers were damaged. */
  readonly flipped: () => number
  close(): void
}

export async function startFlippingRelay(serverPort: number, marker: string): Promise<FlippingRelay> {
  let flipped = 0
  const sockets = new Set<Socket>()
  const relay = createServer((client) => {
    const server = connect({ host: '127.0.0.1', port: serverPort })
    for (const socket of [client, server]) {
      sockets.add(socket)
      socket.on('error', () => undefined)
    }
    client.pipe(server)
    server.on('data', (chunk: Buffer) => {
      const at = chunk.indexOf(marker)
      if (at >= 0) {
        chunk[at] = (chunk[at] ?? 0) ^ 1
        flipped++
      }
      if (!client.write(chunk)) server.pause()
    })
    client.on('drain', () => server.resume())
    server.on('close', () => client.destroy())
    client.on('close', () => server.destroy())
  })
  await new Promise<void>((resolve) => relay.listen(0, '127.0.0.1', resolve))
  const address = relay.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return {
    port: address.port,
    flipped: () => flipped,
    close: () => {
      relay.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}
