/** Signals as exit codes: a shell reports a program that a signal ended as 128 + its number. */
import { constants } from 'node:os'

export function signalNumber(signal: NodeJS.Signals): number {
  return constants.signals[signal] ?? 0
}
