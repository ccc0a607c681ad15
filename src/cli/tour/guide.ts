/** Leads from station to station: tells, asks before anything is changed, visits, shows what was seen, waits for a key. */
import { colourFor, note, print, widthOf } from '../output.ts'
import { paintFor, plainPaint } from '../paint.ts'
import { type Key, nextOrLeave, readKey, yesOrNo } from './keys.ts'
import { prose, seenLines, type TourScreen, toldLines } from './render.ts'
import type { Station, Told, TourStep } from './station.ts'

export interface GuideOptions {
  /** Changes are made without asking. */
  readonly yes: boolean
  /** Changes are left out without asking. */
  readonly noChanges: boolean
  /** No key is waited for, and nothing is coloured. */
  readonly plain: boolean
  readonly json: boolean
  /** Aborted when the person leaves by a signal. */
  readonly signal: AbortSignal
}

export interface Guided {
  readonly steps: readonly TourStep[]
  /** null: to the end. */
  readonly left: 'key' | 'interrupt' | null
}

type Decision =
  | { readonly kind: 'go' }
  | { readonly kind: 'skip'; readonly reason: string }
  | { readonly kind: 'leave'; readonly key: Key }

export class Guide {
  readonly #options: GuideOptions
  readonly #waits: boolean
  #left: Guided['left'] = null

  constructor(options: GuideOptions) {
    this.#options = options
    const terminal = process.stdin.isTTY === true && process.stdout.isTTY === true
    this.#waits = terminal && !options.plain && !options.json
  }

  /** What happens during a change. */
  progress(text: string): void {
    if (!this.#options.json) note(`    ${text}`)
  }

  async lead(stations: readonly Station[]): Promise<Guided> {
    const steps: TourStep[] = []
    for (const [index, station] of stations.entries()) {
      if (this.#options.signal.aborted) this.#left ??= 'interrupt'
      if (this.#left !== null) break
      const step = await this.#visit(station, { number: index + 1, of: stations.length })
      if (step === null) break
      steps.push(step)
      if (index < stations.length - 1) await this.#pause()
    }
    return { steps, left: this.#left }
  }

  /** null: the person left instead of answering. */
  async #visit(
    station: Station,
    place: { readonly number: number; readonly of: number },
  ): Promise<TourStep | null> {
    const { id, title } = station
    const told = await station.tell()
    this.#print((screen) => toldLines({ ...place, title }, told, screen))
    const decision = await this.#decide(told)
    if (decision.kind === 'leave') {
      this.#left = decision.key === 'interrupt' ? 'interrupt' : 'key'
      return null
    }
    const { question, obstacle, ...shown } = told
    const step = { number: place.number, id, title, ...shown }
    if (decision.kind === 'skip') {
      this.#print((screen) => ['', ...prose(`Not done: ${decision.reason}`, screen, '  ')])
      return { ...step, seen: [], result: 'skipped', reason: decision.reason }
    }
    const outcome = await station.visit()
    this.#print((screen) => seenLines(outcome.seen, screen))
    return { ...step, ...outcome, result: question === null ? 'shown' : 'done', reason: null }
  }

  async #decide({ question, obstacle }: Told): Promise<Decision> {
    if (obstacle !== null) return { kind: 'skip', reason: obstacle }
    if (question === null) return { kind: 'go' }
    if (this.#options.noChanges)
      return { kind: 'skip', reason: 'it changes the cluster, and --no-changes was said.' }
    if (this.#options.yes) return { kind: 'go' }
    if (!this.#waits)
      return { kind: 'skip', reason: 'it changes the cluster, and nobody can be asked here: --yes does it.' }
    this.#print((screen) => ['', ...prose(question, screen, '  ')])
    const key = await readKey('  y does it, n goes on without it, q leaves ', yesOrNo, this.#options.signal)
    if (key === 'yes') return { kind: 'go' }
    return key === 'no' ? { kind: 'skip', reason: 'you said no.' } : { kind: 'leave', key }
  }

  async #pause(): Promise<void> {
    if (!this.#waits) return
    const key = await readKey('\n  any key goes on, q leaves ', nextOrLeave, this.#options.signal)
    if (key === 'interrupt') this.#left = 'interrupt'
    else if (key === 'leave') this.#left = 'key'
  }

  #print(lines: (screen: TourScreen) => readonly string[]): void {
    if (this.#options.json) return
    const colour = !this.#options.plain && colourFor(process.stdout)
    print(lines({ width: widthOf(process.stdout), paint: colour ? paintFor(true) : plainPaint }))
  }
}
