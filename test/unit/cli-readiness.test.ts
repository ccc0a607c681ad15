/** When `up` calls a cluster ready: only what holds for whoever reads it. */
import { expect, test } from 'vitest'
import { isReady } from '../../src/cli/local/follow.ts'
import { clusterStatus, nodeStatus } from '../support/cluster-status.ts'

const nodes = ['alpha', 'bravo', 'charlie']

function ready(over: Parameters<typeof clusterStatus>[0] = {}): boolean {
  return isReady({ durability: 'quorum', nodes }, clusterStatus(over))
}

test('a cluster of which all nodes stream, and for whose quorum commits wait, is ready', () => {
  expect(ready()).toBe(true)
  expect(ready({ quorum: { acks: 1, standbys: ['bravo'] } })).toBe(false)
  expect(ready({ nodes: [nodeStatus('alpha'), nodeStatus('bravo', { state: 'catchingUp' })] })).toBe(false)
  expect(ready({ nodes: [nodeStatus('alpha'), nodeStatus('bravo', { syncState: null })] })).toBe(false)
})

test('paused for the last stop it is not ready, because nobody would take over yet', () => {
  const at = '2026-01-01T00:00:00.000Z'
  expect(ready({ paused: { reason: 'the cluster was told to stop', by: 'somebody', at } })).toBe(false)
  expect(ready({ paused: { reason: 'a disk is replaced', by: 'somebody', at } })).toBe(true)
})
