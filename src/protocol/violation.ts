/**
 * The one thing that a codec throws: bytes that the protocol, the tar format or the manifest format does not allow. A peer
 * that sends them is not the PostgreSQL that we know, so nothing that follows can be trusted and the exchange must end.
 */
export class ProtocolViolation extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'ProtocolViolation'
  }
}
