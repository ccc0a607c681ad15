/** Throw-away certificates for tests, made by the openssl command: a CA, and server certificates that it signs. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

export interface TestCa {
  readonly directory: string
  readonly caPem: string
}

export interface TestCertificate {
  readonly certificateFile: string
  readonly keyFile: string
}

export function makeCa(directory: string, name = 'Test CA'): TestCa {
  mkdirSync(directory, { recursive: true })
  const key = join(directory, 'ca.key')
  const certificate = join(directory, 'ca.crt')
  newKey(key)
  openssl(['req', '-x509', '-new', '-key', key, '-subj', `/CN=${name}`, '-days', '2', '-out', certificate])
  return { directory, caPem: readFileSync(certificate, 'utf8') }
}

/** `names` as in subjectAltName: "DNS:localhost", "IP:127.0.0.1". A negative `days` gives one that has expired. */
export function issueCertificate(
  ca: TestCa,
  name: string,
  options: { readonly names: readonly string[]; readonly expired?: boolean },
): TestCertificate {
  const path = (suffix: string): string => join(ca.directory, `${name}.${suffix}`)
  newKey(path('key'))
  openssl(['req', '-new', '-key', path('key'), '-subj', `/CN=${name}`, '-out', path('csr')])
  writeFileSync(path('ext'), `subjectAltName=${options.names.join(',')}\n`)
  const signing = ['x509', '-req', '-in', path('csr'), '-CA', join(ca.directory, 'ca.crt')]
  signing.push('-CAkey', join(ca.directory, 'ca.key'), '-CAcreateserial', '-extfile', path('ext'))
  // Not before and not after are counted in days from now; -days -1 ends yesterday.
  openssl([...signing, '-days', options.expired === true ? '-1' : '2', '-out', path('crt')])
  return { certificateFile: path('crt'), keyFile: path('key') }
}

function newKey(path: string): void {
  openssl(['ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', path])
}

function openssl(args: readonly string[]): void {
  execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] })
}
