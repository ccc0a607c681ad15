/** What the doctor says of a proxy: each verdict from its facts. */
import { describe, expect, it } from 'vitest'
import { renderBoard } from '../../src/cli/board.ts'
import { judgeDoors, judgeLogins, judgePresence } from '../../src/cli/doctor/proxy.ts'
import type { ProxyState } from '../../src/ports/cluster-store.ts'
import { clusterStatus } from '../support/cluster-status.ts'

const door = { address: '10.0.0.1:6433', problem: null, daysLeft: 300 }
const state: ProxyState = {
  ...{ node: 'alpha', workers: 2, clients: 12, waiting: 0, servers: 5, epoch: 3 },
  ...{ held: false, paused: false },
}
const present = { silent: null, epoch: 3, steady: true }
const proxies = (over: Partial<ProxyState> = {}): typeof present & { proxies: never[] } => ({
  ...present,
  proxies: [{ name: 'alpha-1', drained: null, state: { ...state, ...over } }] as never[],
})

describe('the doctor', () => {
  it('tells a proxy that is down from one that shows a wrong certificate, and counts its days', () => {
    expect(judgeDoors([door])).toMatchObject({ status: 'ok', message: expect.stringContaining('300 days') })
    expect(judgeDoors([{ ...door, daysLeft: 3 }])).toMatchObject({ status: 'warning' })
    const problem = { code: 'connect-failed', message: 'nothing listens there' }
    expect(judgeDoors([door, { ...door, problem, daysLeft: null }])).toMatchObject({ status: 'warning' })
    const wrong = { code: 'tls-failed', message: 'another name' }
    expect(judgeDoors([{ ...door, problem: wrong, daysLeft: null }])).toMatchObject({ status: 'failed' })
  })

  it('sees a proxy that the agents do not know of, is behind, or holds its clients', () => {
    expect(judgePresence(proxies())).toMatchObject({
      status: 'ok',
      message: '1 proxy in epoch 3, 12 clients',
    })
    expect(judgePresence({ ...present, proxies: [] })).toMatchObject({ status: 'warning' })
    expect(judgePresence(proxies({ epoch: 2 })).message).toContain('in epoch 2, and 3 is in force')
    expect(judgePresence(proxies({ held: true })).message).toContain('knows no primary')
    expect(judgePresence({ ...proxies({ held: true }), steady: false }).status).toBe('ok')
    expect(judgePresence(proxies({ paused: true })).hint).toContain('RESUME')
    expect(judgePresence({ ...proxies(), silent: 'nobody answers' }).status).toBe('warning')
  })

  it('asks as the proxy itself does', () => {
    expect(judgeLogins({ kind: 'found', verifier: null }).status).toBe('ok')
    expect(judgeLogins({ kind: 'unknown' }).status).toBe('failed')
    expect(judgeLogins({ kind: 'unavailable', reason: 'no role' }).hint).toContain('push')
  })
})

describe('the board', () => {
  it('has a line for each proxy', () => {
    const lines = renderBoard(
      clusterStatus({
        proxies: [
          { name: 'alpha-1', ...state },
          { name: 'b', ...state, node: null, workers: 1, clients: 1, waiting: 4, epoch: 2, held: true },
        ],
      }),
      { width: 200, colour: false },
    ).map((line) => line.trim())
    expect(lines).toContain('proxy at alpha: 12 clients, 5 server connections, 2 workers')
    expect(lines).toContain(
      'proxy: 1 client, 4 waiting, 5 server connections, HELD: it knows no primary that takes writes, still in epoch 2',
    )
  })
})
