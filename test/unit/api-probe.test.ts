/** What a probe of another agent makes of its answers, over real sockets. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { probeAgent } from '../../src/api/probe.ts'

let status = 204
const server = createServer((_, response) => {
  if (status !== 0) response.writeHead(status).end()
})
const target = { name: 'alpha', host: '127.0.0.1', port: 0, apiPort: 0 }

beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  target.apiPort = (server.address() as AddressInfo).port
})
afterAll(() => {
  server.closeAllConnections()
  server.close()
})

test('one that lives answers; one whose loop stands still, or that hangs, is silent', async () => {
  expect(await probeAgent(target, 5_000)).toBe('answers')
  status = 503
  expect(await probeAgent(target, 5_000)).toBe('silent')
  status = 0
  expect(await probeAgent(target, 100)).toBe('silent')
})

test('where nobody listens it is refused', async () => {
  await new Promise((resolve) => {
    server.closeAllConnections()
    server.close(resolve)
  })
  expect(await probeAgent(target, 5_000)).toBe('refused')
})
