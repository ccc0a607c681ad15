/** What counts as an error that the contract of the proxy names, and what does not. */
import pg from 'pg'
import { expect, test } from 'vitest'
import type { ErrorText } from '../../src/protocol/backend-builders.ts'
import { CLIENT_ERRORS } from '../../src/proxy/client-errors.ts'
import { checkContract } from '../lab/clients/contract.ts'
import type { Operation } from '../lab/clients/history.ts'
import { reasonOf, refusalOf } from '../lab/clients/session.ts'

function operation(reason: string): Operation {
  const outcome = reason === '' ? 'acknowledged' : 'failed'
  const [value, round, timelineId, startedAtMs, endedAtMs] = [1, 1, 1, 0, 5]
  return {
    ...{ value, round, timelineId, startedAtMs, endedAtMs, outcome, reason },
    kind: 'insert',
    list: null,
    node: 'proxy',
  }
}

/** As the driver gives it to a client. */
function asTold({ severity, code, message }: ErrorText): pg.DatabaseError {
  const told = new pg.DatabaseError(message, message.length, 'error')
  return Object.assign(told, { severity, code })
}

const NAMED: readonly ErrorText[] = [
  CLIENT_ERRORS.transactionLost('it was killed'),
  CLIENT_ERRORS.outcomeUnknown('it was killed'),
  CLIENT_ERRORS.noPrimary(10_000, 'an election is running'),
  CLIENT_ERRORS.queueFull(2_000),
]

test.each(NAMED.map((error) => [error.code, error] as const))(
  '%s is named, and still no planned switchover may show it',
  (_, error) => {
    const operations = [operation(''), operation(reasonOf(asTold(error)))]
    expect(checkContract(operations, false).breaches).toEqual([])
    expect(checkContract(operations, true).breaches).toHaveLength(1)
  },
)

test('what the server says without any proxy is no error of a switchover', () => {
  const operations = [
    operation('40001: could not serialize access due to concurrent update'),
    operation('40P01: deadlock detected'),
  ]
  expect(checkContract(operations, true)).toMatchObject({ breaches: [], counts: { own: 2 } })
})

test.each([
  ['a session that ends', 'Connection terminated unexpectedly'],
  ['a server that is none any more', 'FATAL 57P01: terminating connection due to administrator command'],
  ['a write at a standby', '25006: cannot execute INSERT in a read-only transaction'],
  ['a success that was none', 'COMMIT was answered with ROLLBACK'],
  ['a failed transaction that nobody was told of', '25P02: current transaction is aborted'],
])('%s is named by nobody', (_, reason) => {
  expect(checkContract([operation(reason)], false).breaches).toHaveLength(1)
})

test('an error in doubt is no proof that nothing happened', () => {
  expect(refusalOf(asTold(CLIENT_ERRORS.outcomeUnknown('it was killed'))).outcome).toBe('unknown')
  expect(refusalOf(asTold(CLIENT_ERRORS.transactionLost('it was killed'))).outcome).toBe('failed')
})
