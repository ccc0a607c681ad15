/** From the text of a statement to where it may run, remembered. */
import type { Catalog, CatalogSource } from './catalog.ts'
import { findHint } from './hints.ts'
import { MAX_TEXT_LENGTH, parse } from './parser.ts'
import { shapeOf } from './shape.ts'
import { type Meaning, meaningOf } from './statements.ts'
import type { Classifier, Hint, Verdict } from './verdict.ts'
import { VerdictCache } from './verdict-cache.ts'

const CACHE = { entries: 10_000, bytes: 8 * 1024 * 1024 }
const LEARNED = { entries: 10_000, bytes: 2 * 1024 * 1024 }

/** One per database and process. `loadParser()` must have ended, or everything goes to the primary. */
export function createClassifier(source: CatalogSource): Classifier {
  return new CachedClassifier(source)
}

class CachedClassifier implements Classifier {
  readonly #source: CatalogSource
  readonly #byText = new VerdictCache<Verdict>(CACHE)
  /** Apart from the texts, because the text of one statement may be the shape of others. */
  readonly #byShape = new VerdictCache<Verdict>(CACHE)
  /** Texts and shapes that a standby refused. */
  readonly #learned = new VerdictCache<true>(LEARNED)
  #catalog: Catalog | null = null

  constructor(source: CatalogSource) {
    this.#source = source
  }

  classify(text: string): Verdict {
    const catalog = this.#source.current()
    if (catalog !== this.#catalog) this.#begin(catalog)
    return this.#byText.get(text) ?? this.#notByText(text)
  }

  learnWrite(text: string): void {
    const shape = shapeOf(text)
    this.#learned.set(shape ?? text, true)
    this.#byText.delete(text)
    if (shape !== null) this.#byShape.delete(shape)
  }

  /** Another catalog, other verdicts; a function that wrote may have been replaced, and is learned again if not. */
  #begin(catalog: Catalog | null): void {
    this.#catalog = catalog
    this.#byText.clear()
    this.#byShape.clear()
    if (catalog !== null) this.#learned.clear()
  }

  #notByText(text: string): Verdict {
    if (text.length > MAX_TEXT_LENGTH) {
      const { hint } = findHint(text.slice(0, MAX_TEXT_LENGTH))
      return { kind: 'primary', reason: `it is longer than ${MAX_TEXT_LENGTH} characters`, hint }
    }
    const shape = shapeOf(text)
    const known = shape === null ? undefined : this.#byShape.get(shape)
    if (known !== undefined) {
      if (shape === text) this.#byText.set(text, known)
      return known
    }
    const { verdict, literalsMatter } = this.#decide(text, shape)
    if (shape !== null && !literalsMatter) this.#byShape.set(shape, verdict)
    if (shape === null || shape === text || literalsMatter) this.#byText.set(text, verdict)
    return verdict
  }

  #decide(
    text: string,
    shape: string | null,
  ): { readonly verdict: Verdict; readonly literalsMatter: boolean } {
    const { hint, complaint } = findHint(text)
    const meaning = complaint === null ? this.#examine(text) : primary(complaint)
    if (meaning.kind === 'read' && this.#learned.get(shape ?? text) === true) {
      const verdict: Verdict = { kind: 'primary', reason: 'a standby has refused it before', hint }
      return { verdict, literalsMatter: meaning.literalsMatter }
    }
    return { verdict: verdictOf(meaning, hint), literalsMatter: meaning.literalsMatter }
  }

  /** Never throws: what goes wrong here is a reason for the primary. */
  #examine(text: string): Meaning {
    const parsed = parse(text)
    if (parsed.kind === 'refused') return primary(parsed.reason)
    const [statement] = parsed.statements
    // Nothing at all, as drivers send to see whether somebody is there: any node answers it.
    if (statement === undefined) return { kind: 'read', literalsMatter: true }
    if (parsed.statements.length > 1)
      return { ...primary('it is more than one statement'), literalsMatter: false }
    try {
      return meaningOf(statement, this.#catalog)
    } catch {
      return primary('its expressions are too deep')
    }
  }
}

function primary(reason: string): Meaning {
  return { kind: 'primary', reason, literalsMatter: true }
}

function verdictOf(meaning: Meaning, hint: Hint | null): Verdict {
  switch (meaning.kind) {
    case 'read':
      return { kind: 'read', hint }
    case 'primary':
      return { kind: 'primary', reason: meaning.reason, hint }
    case 'begin':
      return { kind: 'begin', readOnly: meaning.readOnly, hint }
    case 'setOwn':
      return { kind: 'setOwn', name: meaning.name, value: meaning.value, local: meaning.local }
    case 'showOwn':
      return { kind: 'showOwn', name: meaning.name }
  }
}
