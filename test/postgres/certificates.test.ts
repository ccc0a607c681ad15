/** Certificates as openssl makes and judges them, and passwords in files. */
import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { certificateState } from '../../src/postgres/certificate-state.ts'
import { ensureAuthority, ensureCertificate, issueCertificate } from '../../src/postgres/certificates.ts'
import { makeWorkspace } from '../support/as-user.ts'

const DAY_MS = 86_400_000

describe('certificates', () => {
  const workspace = makeWorkspace('crt')
  const pair = (name: string) => ({
    certificate: join(workspace.path, 'tls', `${name}.crt`),
    key: join(workspace.path, 'tls', `${name}.key`),
  })
  const authority = pair('ca')
  const target = pair('alpha')
  const hosts = ['db1.example.com', '192.0.2.7', '2001:db8::7']
  const order = { authority, target, node: 'alpha', hosts }
  const check = { hosts, key: target.key, authority: authority.certificate }

  beforeAll(async () => {
    expect(await ensureAuthority(authority, 'main')).toMatchObject({ kind: 'ok' })
    expect(await issueCertificate(order)).toMatchObject({ kind: 'ok' })
  })
  afterAll(() => workspace.remove())

  test('openssl accepts a node’s certificate, as server and as client, under each of its names', () => {
    for (const purpose of ['sslserver', 'sslclient']) {
      execFileSync('openssl', [
        'verify',
        '-x509_strict',
        '-purpose',
        purpose,
        '-CAfile',
        authority.certificate,
        target.certificate,
      ])
    }
    for (const host of ['db1.example.com', 'localhost']) verify(['-verify_hostname', host])
    for (const address of ['192.0.2.7', '2001:db8::7', '127.0.0.1', '::1']) verify(['-verify_ip', address])
    expect(() => verify(['-verify_hostname', 'db2.example.com'])).toThrow()
    function verify(more: readonly string[]): void {
      execFileSync('openssl', ['verify', ...more, '-CAfile', authority.certificate, target.certificate], {
        stdio: 'pipe',
      })
    }
  })

  test('lives two years from a day ago, its authority ten, and keys are private', () => {
    const [node, root] = [target, authority].map(
      ({ certificate }) => new X509Certificate(readFileSync(certificate)),
    )
    const days = (text: string | undefined): number =>
      Math.round((Date.parse(text ?? '') - Date.now()) / DAY_MS)
    expect([days(node?.validFrom), days(node?.validTo)]).toEqual([-1, 730])
    expect([days(root?.validFrom), days(root?.validTo)]).toEqual([-1, 3650])
    expect([node?.ca, root?.ca]).toEqual([false, true])
    for (const { key } of [authority, target]) expect(statSync(key).mode & 0o777).toBe(0o600)
    expect(readdirSync(join(workspace.path, 'tls')).sort(), 'nothing of the making is left').toEqual([
      'alpha.crt',
      'alpha.key',
      'ca.crt',
      'ca.key',
    ])
  })

  test('doing it again changes nothing; other names issue anew', async () => {
    const before = [target, authority].map(({ certificate }) => readFileSync(certificate, 'utf8'))
    expect(await ensureAuthority(authority, 'main')).toMatchObject({ kind: 'ok' })
    expect(await ensureCertificate(order)).toEqual({ kind: 'ok', value: { issued: false } })
    expect([target, authority].map(({ certificate }) => readFileSync(certificate, 'utf8'))).toEqual(before)
    const more = [...hosts, 'db9.example.com']
    expect(await certificateState(target.certificate, { hosts: more })).toEqual({
      kind: 'ok',
      value: { kind: 'wrongNames', missing: ['db9.example.com'] },
    })
    expect(await ensureCertificate({ ...order, hosts: more })).toEqual({
      kind: 'ok',
      value: { issued: true },
    })
    expect(await certificateState(target.certificate, { ...check, hosts: more })).toMatchObject({
      value: { kind: 'valid' },
    })
  })

  test.each<[string, number, number, string]>([
    ['valid', -1, 300, 'valid'],
    ['two months before its end', -1, 59, 'expiring'],
    ['after its end', -9, -1, 'expired'],
    ['before its beginning', 1, 9, 'notYetValid'],
  ])('%s', async (_, fromDays, toDays, kind) => {
    const at = (days: number): Date => new Date(Date.now() + days * DAY_MS)
    expect(await issueCertificate({ ...order, notBefore: at(fromDays), notAfter: at(toDays) })).toMatchObject(
      { kind: 'ok' },
    )
    expect(await certificateState(target.certificate, check)).toMatchObject({ kind: 'ok', value: { kind } })
    expect(await ensureCertificate(order)).toEqual({ kind: 'ok', value: { issued: kind !== 'valid' } })
  })

  test('a key or an authority that does not belong to it', async () => {
    const other = pair('other-ca')
    expect(await ensureAuthority(other, 'other')).toMatchObject({ kind: 'ok' })
    expect(
      await certificateState(target.certificate, { ...check, authority: other.certificate }),
    ).toMatchObject({ value: { kind: 'mismatch' } })
    expect(await certificateState(target.certificate, { ...check, key: other.key })).toMatchObject({
      value: { kind: 'mismatch' },
    })
    expect(await certificateState(pair('none').certificate)).toEqual({
      kind: 'ok',
      value: { kind: 'absent' },
    })
    writeFileSync(pair('junk').certificate, 'nothing')
    expect(await certificateState(pair('junk').certificate)).toMatchObject({
      kind: 'failed',
      code: 'tls-failed',
    })
  })

  test('an authority without its key is not replaced: its nodes would no longer trust each other', async () => {
    const half = pair('half')
    expect(await ensureAuthority(half, 'half')).toMatchObject({ kind: 'ok' })
    rmSync(half.key)
    expect(await ensureAuthority(half, 'half')).toMatchObject({ kind: 'failed', code: 'tls-failed' })
  })

  test('a name that would be more than a name, and no openssl', async () => {
    expect(await issueCertificate({ ...order, hosts: ['a,DNS:b'] })).toMatchObject({
      kind: 'failed',
      code: 'config-invalid',
    })
    const path = process.env['PATH']
    process.env['PATH'] = join(workspace.path, 'nowhere')
    try {
      expect(await issueCertificate(order)).toMatchObject({ kind: 'failed', code: 'no-openssl' })
    } finally {
      process.env['PATH'] = path
    }
  })
})
