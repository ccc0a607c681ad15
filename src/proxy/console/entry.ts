/** Which logins are for the console, and who may in. */
import type { ErrorText } from '../../protocol/backend-builders.ts'
import { Parameters } from '../parameters.ts'

/** The second name is PgBouncer's, by which exporters and dashboards ask. */
const CONSOLE_DATABASES: ReadonlySet<string> = new Set(['pgunderstudy', 'pgbouncer'])

export function isConsole(database: string): boolean {
  return CONSOLE_DATABASES.has(database)
}

/** The greeting; the password was proven before. */
export function consoleWelcome(
  { user }: { readonly user: string },
  roles: readonly string[],
  version: string,
): Parameters | ErrorText {
  if (!roles.includes(user))
    return {
      severity: 'FATAL',
      code: '42501',
      message: `${user} may not use the console of the proxy`,
      hint: 'The superuser may, and the roles of proxy.consoleRoles.',
    }
  return new Parameters([
    ['server_version', `${version}/understudy`],
    ['server_encoding', 'UTF8'],
    ['client_encoding', 'UTF8'],
    ['DateStyle', 'ISO, MDY'],
    ['TimeZone', 'UTC'],
    ['integer_datetimes', 'on'],
    ['standard_conforming_strings', 'on'],
  ])
}
