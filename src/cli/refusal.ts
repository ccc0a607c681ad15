/** A preflight that refuses, told as every failure is: code, sentence and HINT, and with --json beside what was looked at. */
import type { ChangeAnswer } from '../api/contract.ts'
import { ERRORS, type ErrorCode, UnderstudyError } from '../errors/codes.ts'
import { checkLines } from './check-lines.ts'
import { colourFor, EXIT, failureText, note, printJson } from './output.ts'
import { paintFor } from './paint.ts'

/** Prints it and gives the exit code. */
export function tellRefusal(plan: ChangeAnswer, json: boolean): number {
  const { refusal } = plan
  if (refusal === null) return EXIT.done
  if (json) {
    printJson({ ...plan, error: refusal })
    return EXIT.failed
  }
  const paint = paintFor(colourFor(process.stderr))
  for (const line of checkLines(plan.checks, paint)) note(line)
  const code: ErrorCode = refusal.code in ERRORS ? (refusal.code as ErrorCode) : 'refused'
  note(failureText(new UnderstudyError(code, refusal.message, { hint: refusal.hint }), paint))
  return EXIT.failed
}
