/** Reads the bodies of the messages that a backend sends (manual: "Message Formats"). CopyData is not among them: it is streamed. */
import { type ErrorFields, parseErrorFields } from './error-fields.ts'
import { BACKEND } from './message-types.ts'
import { ProtocolViolation } from './violation.ts'

export interface FieldDescription {
  readonly name: string
  readonly typeOid: number
  /** 0 text, 1 binary. */
  readonly format: number
}

export type BackendMessage =
  | { readonly name: 'AuthenticationOk' }
  | { readonly name: 'AuthenticationSASL'; readonly mechanisms: readonly string[] }
  | { readonly name: 'AuthenticationSASLContinue'; readonly data: Buffer }
  | { readonly name: 'AuthenticationSASLFinal'; readonly data: Buffer }
  /** A method that we do not speak: cleartext and MD5 on purpose, the rest because nobody needs it. */
  | { readonly name: 'AuthenticationOther'; readonly method: string }
  | { readonly name: 'BackendKeyData'; readonly processId: number; readonly secretKey: Buffer }
  | { readonly name: 'CommandComplete'; readonly tag: string }
  | { readonly name: 'CopyBothResponse' | 'CopyInResponse' | 'CopyOutResponse' }
  | { readonly name: 'CopyDone' }
  | { readonly name: 'DataRow'; readonly values: readonly (Buffer | null)[] }
  | { readonly name: 'EmptyQueryResponse' }
  | { readonly name: 'ErrorResponse' | 'NoticeResponse'; readonly fields: ErrorFields }
  | { readonly name: 'NegotiateProtocolVersion' }
  | { readonly name: 'ParameterStatus'; readonly parameter: string; readonly value: string }
  /** 'I' idle, 'T' in a transaction, 'E' in a failed one. */
  | { readonly name: 'ReadyForQuery'; readonly status: string }
  | { readonly name: 'RowDescription'; readonly fields: readonly FieldDescription[] }

const AUTHENTICATION_METHODS: Readonly<Record<number, string>> = {
  2: 'Kerberos V5',
  3: 'cleartext password',
  5: 'MD5',
  7: 'GSSAPI',
  9: 'SSPI',
}

/** Buffers in the result alias `body`. Throws ProtocolViolation on an unknown type and on a body that is cut short. */
export function parseBackendMessage(type: number, body: Buffer): BackendMessage {
  try {
    return parse(type, body)
  } catch (error) {
    if (error instanceof RangeError) {
      throw new ProtocolViolation(`a message of type '${String.fromCharCode(type)}' is cut short`)
    }
    throw error
  }
}

function parse(type: number, body: Buffer): BackendMessage {
  switch (type) {
    case BACKEND.Authentication:
      return parseAuthentication(body)
    case BACKEND.BackendKeyData:
      return { name: 'BackendKeyData', processId: body.readInt32BE(0), secretKey: body.subarray(4) }
    case BACKEND.CommandComplete:
      return { name: 'CommandComplete', tag: cString(body, 0).text }
    case BACKEND.CopyBothResponse:
      return { name: 'CopyBothResponse' }
    case BACKEND.CopyInResponse:
      return { name: 'CopyInResponse' }
    case BACKEND.CopyOutResponse:
      return { name: 'CopyOutResponse' }
    case BACKEND.CopyDone:
      return { name: 'CopyDone' }
    case BACKEND.DataRow:
      return { name: 'DataRow', values: parseDataRow(body) }
    case BACKEND.EmptyQueryResponse:
      return { name: 'EmptyQueryResponse' }
    case BACKEND.ErrorResponse:
      return { name: 'ErrorResponse', fields: parseErrorFields(body) }
    case BACKEND.NoticeResponse:
      return { name: 'NoticeResponse', fields: parseErrorFields(body) }
    case BACKEND.NegotiateProtocolVersion:
      return { name: 'NegotiateProtocolVersion' }
    case BACKEND.ParameterStatus: {
      const parameter = cString(body, 0)
      return { name: 'ParameterStatus', parameter: parameter.text, value: cString(body, parameter.next).text }
    }
    case BACKEND.ReadyForQuery:
      return { name: 'ReadyForQuery', status: String.fromCharCode(body.readUInt8(0)) }
    case BACKEND.RowDescription:
      return { name: 'RowDescription', fields: parseRowDescription(body) }
    default:
      throw new ProtocolViolation(`the server sent a message of the unknown type ${type}`)
  }
}

function parseAuthentication(body: Buffer): BackendMessage {
  const method = body.readInt32BE(0)
  switch (method) {
    case 0:
      return { name: 'AuthenticationOk' }
    case 10: {
      const mechanisms: string[] = []
      for (let offset = 4; body.readUInt8(offset) !== 0; ) {
        const mechanism = cString(body, offset)
        mechanisms.push(mechanism.text)
        offset = mechanism.next
      }
      return { name: 'AuthenticationSASL', mechanisms }
    }
    case 11:
      return { name: 'AuthenticationSASLContinue', data: body.subarray(4) }
    case 12:
      return { name: 'AuthenticationSASLFinal', data: body.subarray(4) }
    default:
      return { name: 'AuthenticationOther', method: AUTHENTICATION_METHODS[method] ?? `method ${method}` }
  }
}

function parseDataRow(body: Buffer): readonly (Buffer | null)[] {
  const count = body.readUInt16BE(0)
  const values: (Buffer | null)[] = []
  let offset = 2
  for (let i = 0; i < count; i++) {
    const length = body.readInt32BE(offset)
    offset += 4
    if (length < 0) {
      values.push(null)
      continue
    }
    if (offset + length > body.length) throw new ProtocolViolation('a row is cut short')
    values.push(body.subarray(offset, offset + length))
    offset += length
  }
  return values
}

function parseRowDescription(body: Buffer): readonly FieldDescription[] {
  const count = body.readUInt16BE(0)
  const fields: FieldDescription[] = []
  let offset = 2
  for (let i = 0; i < count; i++) {
    const name = cString(body, offset)
    // table oid 4, column 2, type oid 4, type size 2, type modifier 4, format 2
    fields.push({
      name: name.text,
      typeOid: body.readUInt32BE(name.next + 6),
      format: body.readInt16BE(name.next + 16),
    })
    offset = name.next + 18
  }
  return fields
}

function cString(body: Buffer, offset: number): { readonly text: string; readonly next: number } {
  const end = body.indexOf(0, offset)
  if (end < 0) throw new ProtocolViolation('a string of the server is not terminated')
  return { text: body.toString('utf8', offset, end), next: end + 1 }
}
