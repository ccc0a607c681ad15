/** Colours, and when they are right: on terminals only, unless NO_COLOR or FORCE_COLOR say otherwise (no-color.org). */
import { styleText } from 'node:util'

export type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'cyan'

export type Paint = (style: Style, text: string) => string

export const plainPaint: Paint = (_style, text) => text

/** The decision was made by wantsColour: styleText must not look at process.stdout and make another one. */
export const colourPaint: Paint = (style, text) =>
  text === '' ? '' : styleText(style, text, { validateStream: false })

export function paintFor(colour: boolean): Paint {
  return colour ? colourPaint : plainPaint
}

export interface ColourEnvironment {
  readonly isTerminal: boolean
  readonly env: Readonly<Record<string, string | undefined>>
}

/** FORCE_COLOR is the more deliberate of the two and wins, as in node itself; an empty NO_COLOR counts as not set. */
export function wantsColour({ isTerminal, env }: ColourEnvironment): boolean {
  const forced = env['FORCE_COLOR']
  if (forced !== undefined) return forced !== '0' && forced !== 'false'
  if ((env['NO_COLOR'] ?? '') !== '') return false
  return isTerminal && env['TERM'] !== 'dumb'
}

/** The Linux console and dumb terminals lack the block and braille characters. */
export function wantsUnicode(env: Readonly<Record<string, string | undefined>>): boolean {
  return env['TERM'] !== 'linux' && env['TERM'] !== 'dumb'
}
