/** A session with PostgreSQL that is whole, or nothing: a client whose start failed leaves neither a socket nor a timer behind. */
import pg from 'pg'

/** The caller ends it. Errors: those of `pg`, with SQLSTATE or errno as `code`. */
export async function openClient(options: pg.ClientConfig): Promise<pg.Client> {
  const client = new pg.Client(options)
  // A connection that breaks while nobody asks is noticed by the next question.
  client.on('error', () => {})
  try {
    await client.connect()
    return client
  } catch (error) {
    await client.end().catch(() => {})
    throw error
  }
}
