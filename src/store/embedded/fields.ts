/** The fields of one message, with the gateway's leniency: what is left out is zero. */
import { asList, asObject, type JsonObject, parseBytes, parseInt64 } from '../wire.ts'
import { type Failure, failure, GRPC, isFailure } from './failure.ts'
import type { KeyRange } from './key-map.ts'

/** Reads a message field by field and remembers the first thing that did not fit, so that readers need not ask after each. */
export class Fields {
  readonly #body: JsonObject
  #failure: Failure | null = null

  constructor(body: JsonObject) {
    this.#body = body
  }

  done<T>(value: T): T | Failure {
    return this.#failure ?? value
  }

  int(name: string): bigint {
    return this.#fit(name, parseInt64(this.#get(name)), 0n)
  }

  /** An int64 that is not negative and small enough for a number; revisions never get near the limit. */
  count(name: string): number {
    const value = this.int(name)
    return this.#fit(name, value >= 0n && value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : null, 0)
  }

  flag(name: string): boolean {
    const value = this.#get(name) ?? false
    return this.#fit(name, typeof value === 'boolean' ? value : null, false)
  }

  /** One character per byte. */
  bytes(name: string): string {
    return this.#fit(name, parseBytes(this.#get(name)), Buffer.alloc(0)).toString('latin1')
  }

  base64(name: string): string {
    return this.#fit(name, parseBytes(this.#get(name)), Buffer.alloc(0)).toString('base64')
  }

  range(): KeyRange {
    const range = { key: this.bytes('key'), end: this.bytes('range_end') }
    if (range.key === '') this.#failure ??= failure(GRPC.invalidArgument, 'etcdserver: key is not provided')
    return range
  }

  choice<T extends string>(name: string, choices: readonly [T, ...T[]] | readonly T[]): T {
    const first = choices[0] as T
    const value = this.#get(name) ?? first
    return this.#fit(name, choices.find((choice) => choice === value) ?? null, first)
  }

  nested(name: string): JsonObject | null {
    const value = this.#get(name)
    return value === undefined || value === null ? null : this.#fit(name, asObject(value), {})
  }

  each<T>(name: string, read: (item: JsonObject) => T | Failure): readonly T[] {
    const values: T[] = []
    for (const item of this.#fit(name, asList(this.#get(name)), [])) {
      const object = this.#fit(name, asObject(item), null)
      const value = object === null ? null : read(object)
      if (isFailure(value)) this.#failure ??= value
      else if (value !== null) values.push(value)
    }
    return values
  }

  refuse(...names: readonly string[]): void {
    for (const name of names) {
      const value = this.#get(name)
      if (value === undefined || value === null || value === false || value === 0 || value === '0') continue
      this.#failure ??= failure(GRPC.unimplemented, `etcdserver: ${name} is not supported by this store`)
    }
  }

  /** The gateway takes both spellings, range_end and rangeEnd. */
  #get(name: string): unknown {
    return (
      this.#body[name] ?? this.#body[name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())]
    )
  }

  #fit<T, U>(name: string, value: T | null, otherwise: U): T | U {
    if (value !== null) return value
    this.#failure ??= failure(GRPC.invalidArgument, `etcdserver: the field ${name} does not fit`)
    return otherwise
  }
}
