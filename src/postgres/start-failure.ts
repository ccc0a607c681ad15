/** Says why PostgreSQL did not start, from its own last words. PURE. */
import type { ErrorCode } from '../errors/codes.ts'
import { type Failure, failed } from './outcome.ts'

interface Pattern {
  readonly code: ErrorCode
  readonly words: RegExp
}

/** In the order of how much they say: the first that matches names the failure. English, since we start it with LC_ALL=C. */
const PATTERNS: readonly Pattern[] = [
  {
    code: 'no-unprivileged-user',
    words: /"root" execution of the PostgreSQL server is not permitted|cannot be run as root/,
  },
  { code: 'no-space', words: /No space left on device|Disk quota exceeded|could not resize shared memory/ },
  {
    code: 'wrong-major',
    words: /database files are incompatible with server|was initialized by PostgreSQL version/,
  },
  {
    code: 'port-taken',
    words: /Address already in use|socket lock file|Is another postmaster .*using socket/,
  },
  {
    code: 'foreign-postmaster',
    words: /lock file "postmaster\.pid" already exists|pre-existing shared memory block/,
  },
  { code: 'certificate-expired', words: /certificate (has expired|is not yet valid)/ },
  {
    code: 'tls-failed',
    words:
      /could not load (server certificate|private key|root certificate)|check_private_key|private key file .* (has group or world access|must be owned)|could not access private key/,
  },
  {
    code: 'data-damaged',
    words:
      /invalid checkpoint record|could not locate (a valid|required) checkpoint record|incorrect checksum in control file|invalid magic number|could not open file "global\/pg_control"|could not locate a valid checkpoint|requested timeline \d+ (is not a child of this server's history|does not contain minimum recovery point)/,
  },
  {
    code: 'config-invalid',
    words:
      /configuration file .* contains errors|unrecognized configuration parameter|invalid value for parameter|syntax error in file|could not load .*(pg_hba|hba)|parameter ".*" cannot be changed|could not access file ".*": No such file/,
  },
  { code: 'no-permission', words: /Permission denied|has wrong ownership|has invalid permissions/ },
]

const RELEVANT = /\b(FATAL|PANIC|ERROR|HINT|DETAIL|WARNING)\b|^postgres: /

export interface StartWords {
  /** What was written to standard error before the log collector ran. */
  readonly startup: string
  /** What the log files gained since the start. */
  readonly log: string
  readonly exit: string
  /** Named for the person who wants to read on. */
  readonly logDir: string
}

export function explainStartFailure(words: StartWords): Failure {
  const lines = `${words.startup}\n${words.log}`.split('\n').filter((line) => line.trim() !== '')
  // What names the cause may be logged as LOG only ("unrecognized configuration parameter …"), before a FATAL that says little.
  const relevant = lines.filter(
    (line) => RELEVANT.test(line) || PATTERNS.some((pattern) => pattern.words.test(line)),
  )
  const shown = (relevant.length > 0 ? relevant : lines).slice(-6)
  const all = lines.join('\n')
  const code = PATTERNS.find((pattern) => pattern.words.test(all))?.code ?? 'postgres-failed'
  const said = shown.length > 0 ? shown.join('\n') : 'it wrote nothing'
  return failed(code, `PostgreSQL ended with ${words.exit} while starting (log: ${words.logDir}):\n${said}`)
}
