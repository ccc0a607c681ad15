/**
 * Scripts of valid messages, as no driver would send them: what comes back through the proxy must be what comes back from the server.
 * They keep to what transaction mode promises: nothing in them needs a session.
 */
import { copyData, copyDone, copyFail, query } from '../../src/protocol/frontend-messages.ts'
import { bind, close, describe, execute, flush, parse, sync } from '../support/wire-client.ts'
import type { Random } from './random.ts'

/** Everything of it is sent before anything is waited for; ends with `end`, so that its answer can be told from the rest. */
export interface Exchange {
  readonly bytes: Buffer
  readonly end: string
}

const PORTALS = ['', '', 'p'] as const

const ANYWHERE = [
  'SELECT 1',
  "SELECT 'MARKER'",
  'SELECT generate_series(1, 20)',
  'SELECT 1/0',
  'SELECT nothing_like_it',
  'no statement',
  'BEGIN',
  'BEGIN',
  'COMMIT',
  'ROLLBACK',
  'SAVEPOINT s',
  'ROLLBACK TO s',
  "SET LOCAL work_mem = '1MB'",
  "SET application_name = 'MARKER'",
  'SHOW application_name',
  '',
  "SELECT repeat('x', 70000)",
  'VALUES (1), (2)',
  'COPY (SELECT generate_series(1, 3)) TO STDOUT',
  "DO $$ BEGIN RAISE NOTICE 'MARKER'; END $$",
  "SELECT set_config('application_name', 'MARKER 2', true)",
] as const

const SIMPLE_ONLY = [
  'SELECT 1; SELECT 2',
  'SELECT 1; SELECT 1/0; SELECT 2',
  'BEGIN; SELECT 3; COMMIT',
  "SELECT 1; BEGIN; SELECT 'MARKER'",
  'COMMIT; SELECT 4',
] as const

const AT_THE_END = ['DISCARD ALL', 'DEALLOCATE ALL', 'DEALLOCATE b', 'SELECT 5'] as const

/**
 * What is answered before anything else is sent. A name is given once in it and used at once, and closed at its end: what became of a Parse or a
 * Close that is not answered yet the proxy cannot know, and it goes on as if they had been carried out.
 */
export function drawExchanges(random: Random, marker: string): readonly Exchange[] {
  const names = ['a', 'b', 'c']
  const messages: Buffer[] = []
  const text = (from: readonly string[]): string => random.pick(from).replaceAll('MARKER', marker)
  for (let left = 1 + random.below(6); left > 0; left--) {
    switch (random.below(8)) {
      case 0:
      case 1:
        messages.push(query(text(random.chance(3) ? SIMPLE_ONLY : ANYWHERE)))
        break
      case 2:
        messages.push(...copyIn(random, marker))
        break
      default:
        messages.push(...pipeline(random, text, names))
    }
  }
  return [
    ended([...messages, sync(), query('ROLLBACK')], `${marker} messages`),
    ended([close('S', random.pick(['', 'a', 'c'])), sync(), query(text(AT_THE_END))], `${marker} end`),
  ]
}

function ended(messages: readonly Buffer[], end: string): Exchange {
  return { bytes: Buffer.concat([...messages, query(`SELECT '${end}'`)]), end }
}

function pipeline(
  random: Random,
  text: (from: readonly string[]) => string,
  free: string[],
): readonly Buffer[] {
  const messages: Buffer[] = []
  for (let left = 1 + random.below(8); left > 0; left--) {
    // What was given in this exchange is used where it was given only.
    const name = random.pick([...free, 'd'])
    const given = random.chance(3) ? (free.pop() ?? '') : ''
    const portal = random.pick(PORTALS)
    switch (random.below(9)) {
      case 0:
        messages.push(parse(given, text(ANYWHERE)))
        break
      case 1:
        messages.push(bind(portal, name))
        break
      case 2:
        messages.push(execute(portal, random.pick([0, 0, 1, 3])))
        break
      case 3:
        messages.push(random.chance(2) ? describe('S', name) : describe('P', portal))
        break
      case 4:
        messages.push(close('P', portal))
        break
      case 5:
        messages.push(random.chance(3) ? flush() : sync())
        break
      case 6:
        messages.push(parse(given, 'SELECT $1::int + 1', [23]), bind(portal, given, ['41']), execute(portal))
        break
      default:
        messages.push(parse(given, text(ANYWHERE)), bind(portal, given), execute(portal))
    }
  }
  return [...messages, sync()]
}

/** Simple or extended, right, wrong, given up, and with a Sync that the server does not look at. */
function copyIn(random: Random, marker: string): readonly Buffer[] {
  const text = 'COPY fuzzed FROM STDIN'
  const data = Array.from({ length: random.below(5) }, (_, i) =>
    copyData(Buffer.from(random.chance(10) ? 'wrong\n' : `${i}\t${marker}\n`)),
  )
  const end = random.chance(4) ? copyFail('no') : copyDone()
  // In a failed transaction there is no COPY, and what was meant for it is ignored.
  const before = [sync(), query('ROLLBACK')]
  if (random.chance(2)) return [...before, query(text), ...data, end]
  const early = random.chance(3) ? [sync()] : []
  return [...before, parse('', text), bind('', ''), execute(''), ...early, ...data, end, sync()]
}
