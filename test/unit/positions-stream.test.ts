/** Positions over the agent's API, both ends: what is told at once, what a slow reader gets, and how an agent that ends is noticed. */
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { serve } from '@hono/node-server'
import { Hono } from 'hono'
import { afterEach, expect, test } from 'vitest'
import { AgentPositions, declarePositions } from '../../src/api/positions.ts'
import { lsnOf } from '../../src/core/lsn.ts'
import type { PositionReading } from '../../src/ports/proxy.ts'

const reading = (at: number): PositionReading => ({
  ...{ node: 'bravo', role: 'standby', systemIdentifier: '7', timelineId: 1, lsn: lsnOf(BigInt(at)) },
  ...{ streaming: true, heldBack: null, incarnation: 'x' },
})

class TestAgent {
  readonly listeners = new Set<(reading: PositionReading) => void>()
  hurried = 0
  #server: Server | null = null

  async start(port = 0): Promise<number> {
    const app = new Hono()
    declarePositions(app, {
      subscribe: (listener) => {
        this.listeners.add(listener)
        return () => this.listeners.delete(listener)
      },
      hurry: () => {
        this.hurried++
      },
    })
    return new Promise((resolve) => {
      const server = serve({ fetch: app.fetch, hostname: '127.0.0.1', port }, () =>
        resolve((server.address() as AddressInfo).port),
      ) as Server
      this.#server = server
    })
  }

  tell(at: number): void {
    for (const listener of this.listeners) listener(reading(at))
  }

  async stop(): Promise<void> {
    const server = this.#server
    this.#server = null
    if (server === null) return
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
}

const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

async function until(look: () => boolean): Promise<void> {
  const late = performance.now() + 10_000
  while (!look()) {
    if (performance.now() > late) throw new Error('waited in vain')
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

test('readings come as they are told, an agent that ends is told, and one that is back is heard again', async () => {
  const agent = new TestAgent()
  const port = await agent.start()
  ends.push(() => agent.stop())
  const told: (number | null)[] = []
  const positions = new AgentPositions(() => [
    { name: 'bravo', host: '127.0.0.1', apiPort: port, apiCaFile: null },
  ])
  ends.push(() => positions.close())
  positions.subscribe((_, each) => told.push(each === null ? null : Number(each.lsn)))
  positions.follow(['bravo', 'nobody'])
  await until(() => agent.listeners.size === 1)
  agent.tell(1)
  await until(() => told.at(-1) === 1)
  // Between two turns: only the newest is of use.
  for (let at = 2; at <= 50; at++) agent.tell(at)
  await until(() => told.at(-1) === 50)
  expect(told.length).toBeLessThan(10)
  for (let i = 0; i < 5; i++) positions.hurry('bravo')
  await until(() => agent.hurried > 0)
  expect(agent.hurried, 'asked once for a while').toBe(1)
  await agent.stop()
  await until(() => told.at(-1) === null)
  await agent.start(port)
  await until(() => agent.listeners.size > 0)
  agent.tell(60)
  await until(() => told.at(-1) === 60)
  positions.follow([])
  expect(told.at(-1)).toBeNull()
})

test('an agent that falls silent without ending is told, too', async () => {
  const agent = new TestAgent()
  const port = await agent.start()
  ends.push(() => agent.stop())
  const told: (number | null)[] = []
  const positions = new AgentPositions(() => [
    { name: 'bravo', host: '127.0.0.1', apiPort: port, apiCaFile: null },
  ])
  ends.push(() => positions.close())
  positions.subscribe((_, each) => told.push(each === null ? null : Number(each.lsn)))
  positions.follow(['bravo'])
  await until(() => agent.listeners.size === 1)
  agent.tell(1)
  await until(() => told.at(-1) === null)
  expect(told).toEqual([1, null])
})
