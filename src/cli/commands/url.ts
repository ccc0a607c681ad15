/** `understudy url`: the URI for applications. It holds a password, so it is printed alone and only on demand. */
import { connectionFor, libpqUri } from '../connection.ts'
import type { ClusterFlags } from '../flags.ts'
import { openCluster } from '../local/open.ts'
import { EXIT, note, print } from '../output.ts'
import { readPassword } from '../password.ts'

export interface UrlOptions extends ClusterFlags {
  readonly target: string
  readonly superuser?: boolean
  readonly password: boolean
  /** Past the proxy. */
  readonly direct?: boolean
}

export async function run(options: UrlOptions): Promise<number> {
  const { config } = await openCluster(options)
  const connection = connectionFor(config, {
    target: options.target,
    superuser: options.superuser === true,
    throughProxy: options.direct !== true,
  })
  const { passwordFile } = connection
  const password = options.password && passwordFile !== null ? await readPassword(passwordFile) : null
  print(libpqUri(connection, password))
  // Only for a person who reads along: what a script captures stays one line, and libpq 15 refuses the parameter.
  if (options.target === 'read-only' && process.stdout.isTTY)
    note('With libpq 16 or later, append &load_balance_hosts=random to spread the connections.')
  return EXIT.done
}
