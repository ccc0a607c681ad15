/** The sentence of `SHOW ROUTE FOR '<sql>'`: where a statement may run, and why. */
import type { Classifier, Hint, Verdict } from './verdict.ts'

/** What it says is of the statement alone: whether a standby is fresh enough for the session is decided when it runs. */
export function explainRoute(classifier: Classifier, text: string): string {
  const verdict = classifier.classify(text)
  return 'hint' in verdict && verdict.hint !== null
    ? `${sentence(verdict)} Its comment asks for ${wish(verdict.hint)}.`
    : sentence(verdict)
}

function sentence(verdict: Verdict): string {
  switch (verdict.kind) {
    case 'read':
      return 'May go to a standby: it only reads.'
    case 'primary':
      return `Goes to the primary: ${verdict.reason}.`
    case 'begin':
      return verdict.readOnly
        ? 'Begins a read-only transaction, which may go to a standby.'
        : 'Begins a transaction, which goes to the primary: it does not say READ ONLY, or it is serializable.'
    case 'setOwn':
      return `Answered by the proxy: it sets ${verdict.name}.`
    case 'showOwn':
      return `Answered by the proxy: it shows ${verdict.name}.`
  }
}

function wish({ target, level }: Hint): string {
  const parts = [
    ...(target === null ? [] : [`target ${target}`]),
    ...(level === null ? [] : [`level ${level}`]),
  ]
  return parts.length === 0 ? 'nothing' : parts.join(' and ')
}
