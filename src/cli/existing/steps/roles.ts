/** The roles that replication, the agents and pg_rewind log in as. They are there before the restart, for nobody yet. */
import type pg from 'pg'
import { UnderstudyError } from '../../../errors/codes.ts'
import { AGENT_DATABASE, AGENT_ROLE, PROXY_ROLE, REPLICATION_ROLE } from '../../../postgres/layout.ts'
import { existingRoleStatements, quoteIdentifier } from '../../../postgres/roles.ts'
import { readSecret } from '../../../postgres/secrets.ts'
import { scramVerifier } from '../../../protocol/scram.ts'
import { demand } from '../../local/prepare.ts'
import { connectTo } from '../connect.ts'
import { ROOT_ROLE } from '../names.ts'
import type { Step, StepContext } from './step.ts'

const ROLES = [REPLICATION_ROLE, AGENT_ROLE, ROOT_ROLE] as const

export const rolesStep: Step = {
  id: 'roles',
  title: () => `roles ${ROLES.join(', ')}`,
  async carryOut(context) {
    const { config } = context
    const verifier = async (file: string): Promise<string> =>
      scramVerifier({ password: demand(await readSecret(file)) })
    const verifiers = {
      superuser: await verifier(config.secrets.superuserPassword),
      replication: await verifier(config.secrets.replicationPassword),
      agent: await verifier(config.secrets.agentPassword),
    }
    await inTransaction(context, async (client) => {
      const { rows } = await client.query<{ name: string; major: number }>(
        `SELECT rolname::text AS name FROM pg_roles WHERE rolname = ANY ($1)`,
        [ROLES],
      )
      const { rows: version } = await client.query<{ major: number }>(
        "SELECT current_setting('server_version_num')::int / 10000 AS major",
      )
      const statements = existingRoleStatements({
        superuser: ROOT_ROLE,
        verifiers,
        major: version[0]?.major ?? 0,
        present: new Set(rows.map(({ name }) => name)),
      })
      for (const statement of statements) await client.query(statement)
    })
  },
  async undo(context) {
    await inTransaction(context, async (client) => {
      const { rows } = await client.query<{ name: string }>(
        "SELECT slot_name::text AS name FROM pg_replication_slots WHERE slot_name LIKE 'understudy\\_%' AND NOT active",
      )
      for (const { name } of rows) await client.query('SELECT pg_drop_replication_slot($1)', [name])
      const { rows: present } = await client.query<{ name: string }>(
        'SELECT rolname::text AS name FROM pg_roles WHERE rolname = ANY ($1)',
        // The agent of the primary has made the proxies' since.
        [[...ROLES, PROXY_ROLE]],
      )
      for (const { name } of present) {
        await client.query(`DROP OWNED BY ${quoteIdentifier(name)}`)
        await client.query(`DROP ROLE ${quoteIdentifier(name)}`)
      }
    })
  },
}

async function inTransaction(
  { target }: StepContext,
  work: (client: pg.Client) => Promise<void>,
): Promise<void> {
  // A grant on a function counts in its database only: where the agents look from.
  const client = await connectTo({ ...target, database: AGENT_DATABASE }, { readOnly: false })
  try {
    await client.query('BEGIN')
    // A verifier is no password, and still nobody's business in a log.
    await client.query("SET LOCAL log_statement = 'none'; SET LOCAL log_min_duration_statement = -1")
    await work(client)
    await client.query('COMMIT')
  } catch (error) {
    if (error instanceof UnderstudyError) throw error
    throw new UnderstudyError('sql-failed', (error as Error).message, { cause: error })
  } finally {
    await client.end().catch(() => {})
  }
}
