/** How the proxy gets to a server; the composition root knows sockets, certificates and directories. */
import type { Socket } from 'node:net'
import type { RoutedNode } from '../ports/proxy.ts'

/** Gives a connected socket in paused mode, TLS on it where it is due. Throws UnderstudyError; ends with `signal`. */
export type OpenTarget = (node: RoutedNode, signal: AbortSignal) => Promise<Socket>
