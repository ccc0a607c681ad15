import { describe, expect, test } from 'vitest'
import { saslPrep } from '../../src/protocol/saslprep.ts'
import { ScramClient, ScramFailure, scramVerifier, verifierMatches } from '../../src/protocol/scram.ts'
import { ProtocolViolation } from '../../src/protocol/violation.ts'

/** RFC 7677, section 3. */
const RFC = {
  nonce: 'rOprNGfwEbeRWgbNEkqO',
  clientFirst: 'n,,n=user,r=rOprNGfwEbeRWgbNEkqO',
  serverFirst: 'r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096',
  clientFinal:
    'c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=',
  serverFinal: 'v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=',
}

function client(password = 'pencil'): ScramClient {
  const scram = new ScramClient({ password, user: 'user', nonce: RFC.nonce })
  scram.first()
  return scram
}

describe('ScramClient', () => {
  test('agrees with the example of RFC 7677', () => {
    const scram = client()
    expect(scram.first().toString()).toBe(RFC.clientFirst)
    expect(scram.proceed(Buffer.from(RFC.serverFirst)).toString()).toBe(RFC.clientFinal)
    expect(scram.verified).toBe(false)
    scram.finish(Buffer.from(RFC.serverFinal))
    expect(scram.verified).toBe(true)
  })

  test('does not accept a server that does not know the password', () => {
    const scram = client('other')
    scram.proceed(Buffer.from(RFC.serverFirst))
    expect(() => scram.finish(Buffer.from(RFC.serverFinal))).toThrow(ScramFailure)
    expect(scram.verified).toBe(false)
    expect(() => client().finish(Buffer.from(RFC.serverFinal))).toThrow(ScramFailure)
    expect(() => client().finish(Buffer.from('e=invalid-proof'))).toThrow('invalid-proof')
  })

  test('refuses a nonce that does not continue ours, and costs that make no sense', () => {
    for (const first of [
      'r=someoneElses,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096',
      `r=${RFC.nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096`,
      `r=${RFC.nonce}x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=0`,
      `r=${RFC.nonce}x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=999999999`,
      `r=${RFC.nonce}x,s=,i=4096`,
      'garbage',
    ]) {
      expect(() => client().proceed(Buffer.from(first)), first).toThrow(ProtocolViolation)
    }
  })
})

describe('scramVerifier', () => {
  test('has the format that PostgreSQL stores', () => {
    // Password, salt and count of RFC 7677; that a server takes our verifiers is tested in test/replication.
    const salt = Buffer.from('W22ZaJ0SNY7soEsUEjb6gQ==', 'base64')
    expect(scramVerifier({ password: 'pencil', salt })).toBe(
      'SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=',
    )
  })

  test('tells its own password from others', () => {
    const verifier = scramVerifier({ password: 'geheim' })
    expect(verifierMatches(verifier, 'geheim')).toBe(true)
    expect(verifierMatches(verifier, 'Geheim')).toBe(false)
    expect(verifierMatches('md5abc', 'geheim')).toBe(false)
    expect(scramVerifier({ password: 'geheim' })).not.toBe(verifier)
  })
})

describe('saslPrep', () => {
  test('leaves ASCII alone, controls too', () => {
    expect(saslPrep('pass word\t').toString('latin1')).toBe('pass word\t')
  })

  test('normalizes as RFC 4013, section 3, shows', () => {
    expect(saslPrep('I\u00adX').toString()).toBe('IX')
    expect(saslPrep('\u00aa').toString()).toBe('a')
    expect(saslPrep('\u2168').toString()).toBe('IX')
    expect(saslPrep('a\u00a0b').toString()).toBe('a b')
  })

  test('uses what cannot be prepared as it is, as PostgreSQL does', () => {
    expect(saslPrep('ü\u0007').toString()).toBe('ü\u0007')
    expect(saslPrep('\u00ad').toString()).toBe('\u00ad')
  })
})
