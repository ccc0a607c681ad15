/** What the text of one message says about where it may run: the shapes that the classifier and the sessions share. */

/** What the text of one message (a simple query, or one Parse) means for where it may run. */
export type Verdict =
  /** May run on a standby, outside a transaction or in a read-only one. */
  | { readonly kind: 'read'; readonly hint: Hint | null }
  /** `reason` is for people: SHOW ROUTE, logs. */
  | { readonly kind: 'primary'; readonly reason: string; readonly hint: Hint | null }
  /** BEGIN or START TRANSACTION, alone. readOnly: it says READ ONLY (and nothing that a standby refuses, like SERIALIZABLE). */
  | { readonly kind: 'begin'; readonly readOnly: boolean; readonly hint: Hint | null }
  /** SET, RESET or SHOW of one of the proxy's own settings, alone. value null: RESET or TO DEFAULT. */
  | {
      readonly kind: 'setOwn'
      readonly name: OwnSetting
      readonly value: string | null
      readonly local: boolean
    }
  | { readonly kind: 'showOwn'; readonly name: OwnSetting }

export type OwnSetting = 'understudy.target' | 'understudy.level' | 'understudy.token' | 'understudy.max_lag'

/** Of a leading comment, like "understudy: target=read-only level=eventual". What is not named is null. */
export interface Hint {
  readonly target: Target | null
  readonly level: Level | null
}

export type Target = 'auto' | 'read-write' | 'read-only'

/** How fresh a read must be; a token's bound is handed over by the client. */
export type Level = 'eventual' | 'monotonic' | 'session' | 'token' | 'primary'

export interface Classifier {
  /** Cached by text; never throws; what is not understood is 'primary'. */
  classify(text: string): Verdict
  /** A standby answered 25006, or another error that only a standby gives: from now on 'primary'. */
  learnWrite(text: string): void
}
