/** The type bytes of the messages, by the manual's names ("Message Formats"). A letter may mean two things by direction. */
const code = (letter: string): number => letter.charCodeAt(0)

export const BACKEND = {
  Authentication: code('R'),
  BackendKeyData: code('K'),
  CommandComplete: code('C'),
  CopyBothResponse: code('W'),
  CopyData: code('d'),
  CopyDone: code('c'),
  CopyInResponse: code('G'),
  CopyOutResponse: code('H'),
  DataRow: code('D'),
  EmptyQueryResponse: code('I'),
  ErrorResponse: code('E'),
  NegotiateProtocolVersion: code('v'),
  NoticeResponse: code('N'),
  ParameterStatus: code('S'),
  ReadyForQuery: code('Z'),
  RowDescription: code('T'),
} as const

export const FRONTEND = {
  CopyData: code('d'),
  CopyDone: code('c'),
  CopyFail: code('f'),
  PasswordMessage: code('p'),
  Query: code('Q'),
  Terminate: code('X'),
} as const
