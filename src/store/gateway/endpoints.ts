/**
 * The store's addresses, and the one in use. A member that failed is left at once: staying with a sick one froze whole clients elsewhere
 * (jetcd#1318, jetcd#922).
 */
import { UnderstudyError } from '../../errors/codes.ts'

export class Endpoints {
  readonly #urls: readonly URL[]
  #at: number

  /** `random` in [0, 1) spreads the clients over the members from the start. Throws 'config-invalid' for what is no address. */
  constructor(addresses: readonly string[], random: () => number) {
    if (addresses.length === 0) throw new UnderstudyError('config-invalid', 'the store has no address')
    this.#urls = addresses.map(parseAddress)
    this.#at = Math.floor(random() * addresses.length) % addresses.length
  }

  get size(): number {
    return this.#urls.length
  }

  current(): URL {
    const url = this.#urls[this.#at]
    if (url === undefined) throw new RangeError('no endpoint')
    return url
  }

  /** Moves on, unless another request has already left this endpoint: two failures at once must not skip a healthy member. */
  leave(failed: URL): void {
    if (this.current() === failed) this.#at = (this.#at + 1) % this.#urls.length
  }
}

function parseAddress(address: string): URL {
  const url = URL.canParse(address) ? new URL(address) : null
  const plain =
    url !== null && url.username === '' && (url.pathname === '/' || url.pathname === '') && url.search === ''
  if (url === null || !plain || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
    // The address itself is not repeated: it may hold a password, which is why it is refused.
    throw new UnderstudyError('config-invalid', 'a store address must look like https://host:2379')
  }
  return url
}
