/** How the API tells of a failure: the code of the one list, a sentence, and the list's hint. */
import { ERRORS, type ErrorCode } from '../errors/codes.ts'
import type { ErrorBody } from './contract.ts'

export function errorBody(code: ErrorCode, message: string): ErrorBody {
  return { error: { code, message, hint: ERRORS[code].hint } }
}
