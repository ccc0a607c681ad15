import { describe, expect, test } from 'vitest'
import { ScramClient, ScramFailure, scramVerifier } from '../../src/protocol/scram.ts'
import {
  mockScramVerifier,
  parseScramVerifier,
  readSaslInitialResponse,
  ScramServer,
  type ScramVerifier,
} from '../../src/protocol/scram-server.ts'
import { ProtocolViolation } from '../../src/protocol/violation.ts'

function verifierOf(password: string): ScramVerifier {
  const verifier = parseScramVerifier(scramVerifier({ password }))
  if (verifier === null) throw new Error('no verifier')
  return verifier
}

function exchange(verifier: ScramVerifier, client: ScramClient): ReturnType<ScramServer['final']> {
  const server = new ScramServer(verifier)
  const last = server.final(client.proceed(server.first(client.first())))
  client.finish(last.message)
  return last
}

describe('ScramServer', () => {
  test('lets the right password in, proves itself, and learns keys that log in without it', () => {
    const verifier = verifierOf('pencil')
    const { keys } = exchange(verifier, new ScramClient({ password: 'pencil' }))
    const again = new ScramClient({ keys })
    expect(exchange(verifier, again).keys).toEqual(keys)
    expect(again.verified).toBe(true)
    expect(() => exchange(verifierOf('pencil'), new ScramClient({ keys })), 'another salt').toThrow(
      ScramFailure,
    )
  })

  test('agrees with the example of RFC 7677', () => {
    const salt = Buffer.from('W22ZaJ0SNY7soEsUEjb6gQ==', 'base64')
    const verifier = parseScramVerifier(scramVerifier({ password: 'pencil', salt, iterations: 4096 }))
    if (verifier === null) throw new Error('no verifier')
    const server = new ScramServer(verifier, '%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0')
    const first = server.first(Buffer.from('n,,n=user,r=rOprNGfwEbeRWgbNEkqO'))
    expect(first.toString()).toBe(
      'r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096',
    )
    const last = server.final(
      Buffer.from(
        'c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=',
      ),
    )
    expect(last.message.toString()).toBe('v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=')
  })

  test('refuses a wrong password, and everybody who does not exist', () => {
    expect(() => exchange(verifierOf('pencil'), new ScramClient({ password: 'pen' }))).toThrow(ScramFailure)
    const secret = Buffer.from('s')
    const mock = mockScramVerifier('nobody', secret)
    expect(mock.salt).toBe(mockScramVerifier('nobody', secret).salt)
    expect(mock.salt).not.toBe(mockScramVerifier('somebody', secret).salt)
    expect(() => exchange(mock, new ScramClient({ password: 'x' }))).toThrow(ScramFailure)
  })

  test('refuses channel binding, another exchange, and what is malformed', () => {
    for (const first of [
      'p=tls-server-end-point,,n=,r=abc',
      'n,a=x,n=,r=abc',
      'n,,m=x,n=,r=abc',
      'n,,n=,r=',
      '',
    ]) {
      expect(() => new ScramServer(verifierOf('p')).first(Buffer.from(first)), first).toThrow(
        ProtocolViolation,
      )
    }
    const server = new ScramServer(verifierOf('p'))
    const first = server.first(Buffer.from('n,,n=,r=abc')).toString()
    const nonce = /r=([^,]+)/.exec(first)?.[1] ?? ''
    const proof = Buffer.alloc(32).toString('base64')
    for (const final of [
      `c=biws,r=other,p=${proof}`,
      `c=eSws,r=${nonce},p=${proof}`,
      `c=biws,r=${nonce}`,
      `c=biws,r=${nonce},p=AAAA`,
      `nonsense,p=${proof}`,
    ]) {
      expect(() => server.final(Buffer.from(final)), final).toThrow(ProtocolViolation)
    }
    expect(() => server.final(Buffer.from(`c=biws,r=${nonce},p=${proof}`))).toThrow(ScramFailure)
  })

  test('reads verifiers of PostgreSQL and nothing else', () => {
    for (const text of [
      'md5abc',
      '',
      'SCRAM-SHA-256$0:AAAA$AAAA:AAAA',
      'SCRAM-SHA-256$4096:AAAA$AAAA:AAAA',
    ]) {
      expect(parseScramVerifier(text), text).toBeNull()
    }
  })
})

describe('readSaslInitialResponse', () => {
  test('takes the length at its word only when it is true', () => {
    const body = (length: number): Buffer => {
      const bytes = Buffer.from('SCRAM-SHA-256\0....n,,n=,r=x', 'latin1')
      bytes.writeInt32BE(length, 14)
      return bytes
    }
    expect(readSaslInitialResponse(body(9)).data.toString()).toBe('n,,n=,r=x')
    for (const length of [-1, 8, 10, 0x7fffffff]) {
      expect(() => readSaslInitialResponse(body(length))).toThrow(ProtocolViolation)
    }
    expect(() => readSaslInitialResponse(Buffer.from('SCRAM-SHA-256'))).toThrow(ProtocolViolation)
    expect(() => readSaslInitialResponse(Buffer.from('SCRAM-SHA-1\0\0\0\0\0'))).toThrow('not offered')
  })
})
