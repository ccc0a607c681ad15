/** Messages that a backend sends, as bytes (manual: "Message Formats"), for whoever speaks to clients as if it were one. */
import { frame } from './frontend-messages.ts'
import { BACKEND } from './message-types.ts'

export type TransactionStatus = 'I' | 'T' | 'E'

export interface ErrorText {
  /** ERROR: the session goes on. FATAL: it ends with this message. */
  readonly severity: 'ERROR' | 'FATAL' | 'WARNING' | 'NOTICE'
  /** SQLSTATE. */
  readonly code: string
  readonly message: string
  readonly detail?: string | undefined
  readonly hint?: string | undefined
}

export function errorResponse(error: ErrorText): Buffer {
  return frame(BACKEND.ErrorResponse, errorBody(error))
}

function errorBody({ severity, code, message, detail, hint }: ErrorText): Buffer {
  const fields = [`S${severity}`, `V${severity}`, `C${code}`, `M${message}`]
  if (detail !== undefined) fields.push(`D${detail}`)
  if (hint !== undefined) fields.push(`H${hint}`)
  // A zero byte inside would end its field, and the rest would be read as another one.
  return Buffer.from(`${fields.map((field) => `${field.replaceAll('\0', '?')}\0`).join('')}\0`, 'utf8')
}

const READY = {
  I: Buffer.from('Z\0\0\0\x05I', 'latin1'),
  T: Buffer.from('Z\0\0\0\x05T', 'latin1'),
  E: Buffer.from('Z\0\0\0\x05E', 'latin1'),
} as const

/** The same bytes each time: not to be written to. */
export function readyForQuery(status: TransactionStatus): Buffer {
  return READY[status]
}

export function authenticationOk(): Buffer {
  return authentication(0)
}

export function authenticationSasl(mechanisms: readonly string[]): Buffer {
  return authentication(10, Buffer.from(`${mechanisms.map((each) => `${each}\0`).join('')}\0`, 'utf8'))
}

export function authenticationSaslContinue(data: Buffer): Buffer {
  return authentication(11, data)
}

export function authenticationSaslFinal(data: Buffer): Buffer {
  return authentication(12, data)
}

function authentication(method: number, ...data: readonly Buffer[]): Buffer {
  return frame(BACKEND.Authentication, int32(method), ...data)
}

export function parameterStatus(name: string, value: string): Buffer {
  return frame(BACKEND.ParameterStatus, Buffer.from(`${name}\0${value}\0`, 'utf8'))
}

export function backendKeyData(processId: number, secretKey: Buffer): Buffer {
  return frame(BACKEND.BackendKeyData, int32(processId), secretKey)
}

/**
 * The newest minor version that is spoken, and the protocol options that are not understood. The manual says that the number is the
 * minor version; servers send, and libpq 18 expects, the whole one.
 */
export function negotiateProtocolVersion(minorVersion: number, unknownOptions: readonly string[]): Buffer {
  const names = Buffer.from(unknownOptions.map((name) => `${name}\0`).join(''), 'utf8')
  return frame(
    BACKEND.NegotiateProtocolVersion,
    int32((3 << 16) | minorVersion),
    int32(unknownOptions.length),
    names,
  )
}

export function commandComplete(tag: string): Buffer {
  return frame(BACKEND.CommandComplete, Buffer.from(`${tag}\0`, 'utf8'))
}

export function parseComplete(): Buffer {
  return frame(BACKEND.ParseComplete)
}

export function bindComplete(): Buffer {
  return frame(BACKEND.BindComplete)
}

export function closeComplete(): Buffer {
  return frame(BACKEND.CloseComplete)
}

export function noData(): Buffer {
  return frame(BACKEND.NoData)
}

export function parameterDescription(typeOids: readonly number[]): Buffer {
  const body = Buffer.alloc(2 + 4 * typeOids.length)
  body.writeUInt16BE(typeOids.length, 0)
  for (const [index, oid] of typeOids.entries()) body.writeUInt32BE(oid, 2 + 4 * index)
  return frame(BACKEND.ParameterDescription, body)
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value, 0)
  return bytes
}

/** The same fields as an error's, and nothing fails. */
export function noticeResponse(notice: ErrorText): Buffer {
  return frame(BACKEND.NoticeResponse, errorBody(notice))
}

export function emptyQueryResponse(): Buffer {
  return frame(BACKEND.EmptyQueryResponse)
}

export interface FieldDescription {
  readonly name: string
  /** Of the type, and its size; below 0: it varies. */
  readonly oid: number
  readonly bytes: number
  /** 0: text, 1: binary. */
  readonly format: number
}

/** Of columns that are of no table. */
export function rowDescription(fields: readonly FieldDescription[]): Buffer {
  const parts = fields.map(({ name, oid, bytes, format }) => {
    const rest = Buffer.alloc(18)
    rest.writeUInt32BE(oid, 6)
    rest.writeInt16BE(bytes, 10)
    rest.writeInt32BE(-1, 12)
    rest.writeInt16BE(format, 16)
    return Buffer.concat([Buffer.from(`${name}\0`, 'utf8'), rest])
  })
  return frame(BACKEND.RowDescription, int16(fields.length), ...parts)
}

/** null: NULL. */
export function dataRow(values: readonly (Buffer | null)[]): Buffer {
  const parts = values.flatMap((value) => (value === null ? [int32(-1)] : [int32(value.length), value]))
  return frame(BACKEND.DataRow, int16(values.length), ...parts)
}

function int16(value: number): Buffer {
  const bytes = Buffer.alloc(2)
  bytes.writeInt16BE(value, 0)
  return bytes
}
