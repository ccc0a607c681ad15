/** The authentication phase: SCRAM-SHA-256 or nothing (manual: "SASL Authentication"). Weaker methods are refused. */
import { UnderstudyError } from '../errors/codes.ts'
import type { BackendMessage } from '../protocol/backend-messages.ts'
import { saslInitialResponse, saslResponse } from '../protocol/frontend-messages.ts'
import { SCRAM_SHA_256, ScramClient } from '../protocol/scram.ts'

export class Authenticator {
  readonly #password: string | null
  readonly #who: string
  #scram: ScramClient | null = null

  /** `who` names user and server in messages. */
  constructor(password: string | null, who: string) {
    this.#password = password
    this.#who = who
  }

  /**
   * Takes an Authentication message and gives what to send, null for nothing. Throws 'auth-failed', ScramFailure or
   * ProtocolViolation. AuthenticationOk without SCRAM is accepted: pg_hba.conf of that server says trust or peer.
   */
  answer(message: BackendMessage): Buffer | null {
    switch (message.name) {
      case 'AuthenticationOk':
        // Without this check an impostor that knows no password could simply say yes half-way.
        if (this.#scram !== null && !this.#scram.verified) {
          throw new UnderstudyError(
            'auth-failed',
            `${this.#who}: the server did not prove that it knows the password`,
          )
        }
        return null
      case 'AuthenticationSASL': {
        if (!message.mechanisms.includes(SCRAM_SHA_256)) {
          throw new UnderstudyError('auth-failed', `${this.#who}: the server offers no ${SCRAM_SHA_256}`)
        }
        if (this.#password === null) {
          throw new UnderstudyError(
            'auth-failed',
            `${this.#who}: the server asks for a password and none is known`,
            {
              hint: 'The passfile needs a line for this host, port and user, with the database `replication`.',
            },
          )
        }
        this.#scram = new ScramClient({ password: this.#password })
        return saslInitialResponse(SCRAM_SHA_256, this.#scram.first())
      }
      case 'AuthenticationSASLContinue':
        return saslResponse(this.#exchange().proceed(message.data))
      case 'AuthenticationSASLFinal':
        this.#exchange().finish(message.data)
        return null
      case 'AuthenticationOther':
        throw new UnderstudyError('auth-failed', `${this.#who}: the server asks for ${message.method}`, {
          hint: 'Use scram-sha-256 in pg_hba.conf, and set the password again with password_encryption = scram-sha-256.',
        })
      default:
        throw new UnderstudyError(
          'protocol-violation',
          `${this.#who}: ${message.name} is no authentication message`,
        )
    }
  }

  #exchange(): ScramClient {
    if (this.#scram === null) {
      throw new UnderstudyError('protocol-violation', `${this.#who}: SCRAM goes on before it began`)
    }
    return this.#scram
  }
}
