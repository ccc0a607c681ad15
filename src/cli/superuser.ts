/** A superuser's session with one node, as an application far away would open it: over TCP and TLS, with the certificate checked. */
import { readFile } from 'node:fs/promises'
import type pg from 'pg'
import { hostInUri } from '../config/fields.ts'
import type { ResolvedConfig, ResolvedNode } from '../config/load.ts'
import { UnderstudyError } from '../errors/codes.ts'
import { openClient } from './open-client.ts'
import { readPassword } from './password.ts'

const CONNECT_MS = 5_000

export interface SuperuserOptions {
  readonly applicationName: string
  /** Every value as PostgreSQL writes it, as psql shows it; left out: as JavaScript has it. */
  readonly asText?: true
  /** A statement that takes longer fails, and its session with it. */
  readonly answerMs?: number
}

/** The caller ends it. Errors: connect-failed, no-permission, not-found. */
export async function openSuperuser(
  config: ResolvedConfig,
  node: ResolvedNode,
  { applicationName, asText, answerMs }: SuperuserOptions,
): Promise<pg.Client> {
  const password = await readPassword(config.secrets.superuserPassword)
  const ca = await readFile(config.tls.caFile, 'utf8')
  const text: Pick<pg.ClientConfig, 'types'> = {
    types: { getTypeParser: () => (value: unknown) => value } as pg.CustomTypesConfig,
  }
  try {
    return await openClient({
      ...{ host: node.host, port: node.port, database: 'postgres', password, ssl: { ca } },
      user: config.postgres.superuser,
      application_name: applicationName,
      connectionTimeoutMillis: CONNECT_MS,
      ...(asText === true && text),
      ...(answerMs !== undefined && { query_timeout: answerMs }),
    })
  } catch (error) {
    throw new UnderstudyError(
      'connect-failed',
      `${node.name} at ${hostInUri(node.host)}:${node.port}: ${(error as Error).message}`,
      { cause: error },
    )
  }
}
