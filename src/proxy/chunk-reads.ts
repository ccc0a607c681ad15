/**
 * Reading from a socket with as little around it as Node allows. A stream allocates 64 KB for each read, cuts them down to what came, and
 * passes that through its own queue with a tick of its own; for a query of a hundred bytes that is more work than all that the proxy
 * does with it (docs/proxy-performance.md). Here one buffer serves every read of the process, and what came is copied out of it at once: no
 * byte of it is ever seen by two.
 *
 * Node offers this for sockets that it connects (`onread`), not for those that it accepts. So the connection is moved to a socket that is
 * made with it. Where that cannot be done (TLS, another Node), the stream is read as usual.
 */
import { type OnReadOpts, Socket, type SocketConstructorOpts } from 'node:net'

/** What one read gives at most. */
const READ_BYTES = 64 * 1024
const shared = Buffer.allocUnsafeSlow(READ_BYTES)

/** The part of Node's own TCP and pipe handles that is used here. */
interface Handle {
  reading: boolean
  readStop(): number
  useUserBuffer(buffer: Uint8Array): void
}

interface HasHandle {
  _handle: Handle | null
}

/**
 * Everything that comes in from now on goes to `take`, in chunks that are its own. Returns the socket to go on with: `socket` is not to be
 * used any more, except that the two end together.
 */
export function readChunks(socket: Socket, take: (chunk: Buffer) => void): Socket {
  const moved = moveHandle(socket, take)
  if (moved === null) {
    socket.on('data', take)
    return socket
  }
  moved.once('close', () => socket.destroy())
  // Without a handle it would wait for ever to say that all is written.
  socket.destroySoon = () => moved.destroySoon()
  socket.once('close', () => moved.destroySoon())
  // What the stream has read already comes before anything else, and not before whoever asks for it is ready.
  const rest: unknown = socket.read()
  if (Buffer.isBuffer(rest)) process.nextTick(take, rest)
  return moved
}

/** null: not this one. */
function moveHandle(socket: Socket, take: (chunk: Buffer) => void): Socket | null {
  const from = socket as unknown as HasHandle
  const handle = from._handle
  if (socket.destroyed || socket.readableEnded || !isPlain(socket, handle)) return null
  handle.reading = false
  handle.readStop()
  from._handle = null
  const options: SocketConstructorOpts & { readonly handle: Handle; readonly onread: OnReadOpts } = {
    handle,
    onread: {
      buffer: shared,
      callback: (bytes) => {
        const chunk = Buffer.allocUnsafe(bytes)
        shared.copy(chunk, 0, 0, bytes)
        take(chunk)
        return true
      },
    },
  }
  const moved = new Socket(options)
  if ((moved as unknown as HasHandle)._handle === handle) return moved
  from._handle = handle
  return null
}

function isPlain(socket: Socket, handle: Handle | null): handle is Handle {
  // TLS reads from below, and has a handle of another kind.
  return (
    Object.getPrototypeOf(socket) === Socket.prototype &&
    socket.writableLength === 0 &&
    typeof handle?.useUserBuffer === 'function' &&
    typeof handle.readStop === 'function'
  )
}
