/** Messages that a frontend sends, as bytes (manual: "Message Formats"; protocol 3.0). */
import { FRONTEND } from './message-types.ts'
import { ProtocolViolation } from './violation.ts'

const PROTOCOL_3_0 = 196608
const SSL_REQUEST = 80877103
const CANCEL_REQUEST = 80877102

/** Asks for TLS before anything else is said. The answer is one byte: 'S' go on with TLS, 'N' no, 'E' an old-style error. */
export function sslRequest(): Buffer {
  const message = Buffer.alloc(8)
  message.writeInt32BE(8, 0)
  message.writeInt32BE(SSL_REQUEST, 4)
  return message
}

/**
 * The first message of a session; `parameters` in the order given (user, database, replication, application_name ...). A server that does
 * not know protocol 3.`minorVersion` says so in NegotiateProtocolVersion and goes on in its own.
 */
export function startupMessage(parameters: Readonly<Record<string, string>>, minorVersion = 0): Buffer {
  const strings = Object.entries(parameters).map(([name, value]) => `${cString(name)}${cString(value)}`)
  const body = Buffer.from(`${strings.join('')}\0`, 'utf8')
  const message = Buffer.alloc(8 + body.length)
  message.writeInt32BE(message.length, 0)
  message.writeInt32BE(PROTOCOL_3_0 + minorVersion, 4)
  body.copy(message, 8)
  return message
}

/** Sent on a connection of its own to cancel what another one does. `secretKey` is what BackendKeyData carried. */
export function cancelRequest(processId: number, secretKey: Buffer): Buffer {
  const message = Buffer.alloc(12 + secretKey.length)
  message.writeInt32BE(message.length, 0)
  message.writeInt32BE(CANCEL_REQUEST, 4)
  message.writeInt32BE(processId, 8)
  secretKey.copy(message, 12)
  return message
}

export function saslInitialResponse(mechanism: string, response: Buffer): Buffer {
  const name = Buffer.from(cString(mechanism), 'utf8')
  const length = Buffer.alloc(4)
  length.writeInt32BE(response.length, 0)
  return frame(FRONTEND.PasswordMessage, name, length, response)
}

export function saslResponse(response: Buffer): Buffer {
  return frame(FRONTEND.PasswordMessage, response)
}

export function query(text: string): Buffer {
  return frame(FRONTEND.Query, Buffer.from(cString(text), 'utf8'))
}

export function copyData(body: Buffer): Buffer {
  return frame(FRONTEND.CopyData, body)
}

export function copyDone(): Buffer {
  return frame(FRONTEND.CopyDone)
}

export function copyFail(reason: string): Buffer {
  return frame(FRONTEND.CopyFail, Buffer.from(cString(reason), 'utf8'))
}

export function terminate(): Buffer {
  return frame(FRONTEND.Terminate)
}

/** One message: type byte, int32 length that counts itself, body. Used by both directions. */
export function frame(type: number, ...body: readonly Buffer[]): Buffer {
  const bodyBytes = body.reduce((sum, part) => sum + part.length, 0)
  const message = Buffer.allocUnsafe(5 + bodyBytes)
  message[0] = type
  message.writeInt32BE(4 + bodyBytes, 1)
  let offset = 5
  for (const part of body) offset += part.copy(message, offset)
  return message
}

function cString(text: string): string {
  // A zero byte would end the string early, and the rest would be read as something else.
  if (text.includes('\0')) throw new ProtocolViolation('a string for the server contains a zero byte')
  return `${text}\0`
}
