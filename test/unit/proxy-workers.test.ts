/** Several workers as one proxy: what each may have, when they have drained, and what becomes of one that dies. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { configRows, differences } from '../../src/cli/proxy-keys.ts'
import { configKeys } from '../../src/config/keys.ts'
import { parseConfig } from '../../src/config/load.ts'
import { partOf, poolModeOf, poolSizeOf } from '../../src/proxy/shares.ts'
import type { ToPrimary, ToWorker } from '../../src/proxy/worker-messages.ts'
import { type WorkerProcess, WorkerTeam } from '../../src/proxy/worker-team.ts'

class TestProcess implements WorkerProcess {
  readonly process = { pid: 1, kill: () => true }
  readonly heard: ToWorker[] = []
  readonly #listeners = new Map<string, (...args: never[]) => void>()

  send(message: ToWorker): boolean {
    this.heard.push(message)
    return true
  }

  on(event: string, listener: (...args: never[]) => void): void {
    this.#listeners.set(event, listener)
  }

  say(message: ToPrimary): void {
    this.#listeners.get('message')?.(message as never)
  }

  begin(): this {
    this.say({ say: 'hello' })
    this.say({ say: 'ready' })
    return this
  }

  die(): void {
    this.#listeners.get('exit')?.(...([null, 'SIGKILL'] as never[]))
  }

  last(say: ToWorker['say']): ToWorker | undefined {
    return this.heard.findLast((message) => message.say === say)
  }
}

describe('a team of workers', () => {
  const forked: TestProcess[][] = []
  const drained: string[] = []
  let team: WorkerTeam
  let started: ReturnType<WorkerTeam['start']>

  const process = (worker: number): TestProcess => forked[worker]?.at(-1) as TestProcess

  beforeEach(() => {
    vi.useFakeTimers()
    forked.length = 0
    drained.length = 0
    team = new WorkerTeam({
      size: 2,
      fork: (worker) => {
        const made = new TestProcess()
        forked[worker] = [...(forked[worker] ?? []), made]
        return made
      },
      log: { info: () => {}, warn: () => {}, error: () => {} },
      onDrained: (hold) => drained.push(hold),
    })
    started = team.start()
  })
  afterEach(() => {
    vi.useRealTimers()
  })

  it('serves when all of them do', async () => {
    process(0).begin()
    process(1).begin()
    expect(await started).toBeNull()
  })

  it('does not begin when one cannot, and says why', async () => {
    process(0).begin()
    process(1).say({ say: 'failed', code: 'port-taken', message: 'port 1 is taken', hint: '' })
    expect(await started).toMatchObject({ code: 'port-taken', message: 'port 1 is taken' })
  })

  it('has drained when every worker that may serve has, and one that dies is not waited for', () => {
    process(0).begin()
    process(1).say({ say: 'hello' })
    process(0).say({ say: 'drained', hold: 'a' })
    expect(drained).toEqual([])
    process(1).say({ say: 'drained', hold: 'a' })
    expect(drained).toEqual(['a'])
    process(0).say({ say: 'drained', hold: 'b' })
    expect(drained).toEqual(['a'])
    process(1).die()
    expect(drained).toEqual(['a', 'b'])
  })

  it('begins one again that died, after a pause that grows and ends', async () => {
    process(0).begin()
    process(1).begin()
    await started
    const pauses: number[] = []
    for (let deaths = 0; deaths < 9; deaths++) {
      const before = forked[1]?.length ?? 0
      process(1).die()
      let pauseMs = 0
      while (forked[1]?.length === before) {
        await vi.advanceTimersByTimeAsync(100)
        pauseMs += 100
      }
      pauses.push(pauseMs)
      process(1).begin()
    }
    expect(pauses).toEqual([100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000])
    expect(forked[0]).toHaveLength(1)
  })

  it('tells a worker that begins later what is paused, and what connections the others have', async () => {
    process(0).begin()
    process(1).begin()
    await started
    process(0).say({ say: 'connections', connections: 7 })
    expect(process(1).last('clientsElsewhere')).toMatchObject({ connections: 7 })
    const pausing = team.ask('pause', { database: 'app' })
    process(1).die()
    const { id } = process(0).last('ask') as Extract<ToWorker, { say: 'ask' }>
    process(0).say({ say: 'answer', id, answer: { left: 3 } })
    // One that died meanwhile is left out.
    expect(await pausing).toEqual([{ left: 3 }])
    await vi.advanceTimersByTimeAsync(200)
    process(1).begin()
    expect(process(1).last('begin')).toEqual({ say: 'begin', paused: ['app'] })
  })

  it('passes a cancel request on to the worker whose key it is', () => {
    process(0).begin()
    process(1).begin()
    process(0).say({ say: 'cancel', worker: 1, processId: 5, secretKey: 'aa' })
    expect(process(1).last('cancel')).toEqual({ say: 'cancel', processId: 5, secretKey: 'aa' })
    process(0).say({ say: 'cancel', worker: 99, processId: 5, secretKey: 'aa' })
  })
})

describe('shares', () => {
  it('make the whole together, and nobody has nothing', () => {
    for (const workers of [1, 2, 3, 7])
      for (const whole of [1, 2, 20, 101]) {
        const parts = Array.from({ length: workers }, (_, worker) => partOf(whole, worker, workers))
        expect(Math.min(...parts)).toBeGreaterThanOrEqual(1)
        expect(parts.reduce((all, part) => all + part, 0)).toBe(Math.max(whole, workers))
      }
  })

  it('of single pools follow the first rule that fits and says something', () => {
    const settings = {
      pools: [{ user: 'a' }, { user: 'a', mode: 'session' as const }, { database: 'd', size: 3 }],
      defaultPoolSize: 20,
      poolMode: 'transaction' as const,
    }
    expect(poolSizeOf(settings, { database: 'd', user: 'a' })).toBe(3)
    expect(poolSizeOf(settings, { database: 'e', user: 'a' })).toBe(20)
    expect(poolModeOf(settings, { database: 'd', user: 'a' })).toBe('session')
    expect(poolModeOf(settings, { database: 'd', user: 'b' })).toBe('transaction')
  })
})

describe('settings that change', () => {
  const config = (proxy: string): NonNullable<ReturnType<typeof parseConfig>['proxy']> =>
    parseConfig(
      `store: { endpoints: [http://127.0.0.1:2379] }\nproxy: { ports: { readWrite: 6433 }, ${proxy} }\nnodes: { alpha: { host: 10.0.0.1 } }`,
      'f',
    ).proxy

  it('are told from those that need a restart', () => {
    const [before, after] = [config(''), config('workers: 2, holdTimeout: 3s, pools: [{ size: 3 }]')]
    expect(differences(before, after, 'reload')).toEqual(['proxy.pools', 'proxy.holdTimeout'])
    expect(differences(before, after, 'proxy')).toEqual(['proxy.workers'])
  })

  it('are shown as they are in force, written as a person writes them', () => {
    const rows = configRows(config(''), config('workers: 2, holdTimeout: 3s, maxWaitingBytes: 1024kB'))
    const rowOf = (key: string): unknown => rows.find((row) => row.key === key)
    expect(rowOf('proxy.workers')).toMatchObject({ value: '', changeable: false })
    expect(rowOf('proxy.holdTimeout')).toMatchObject({ value: '3s', default: '10s', changeable: true })
    expect(rowOf('proxy.maxWaitingBytes')).toMatchObject({ value: '1MB', default: '64MB' })
  })

  it('say of every key when a change counts', () => {
    const keys = configKeys().filter(({ path, type }) => path[0] === 'proxy' && type !== 'section')
    expect(keys.filter(({ takesEffect }) => takesEffect === null)).toEqual([])
  })
})
