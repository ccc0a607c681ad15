/** Watching a primary from outside: nothing is sent while all is well, and silence counts from the first question without an answer. */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, it } from 'vitest'
import { PrimaryWatch } from '../../src/agent/primary-watch.ts'
import { timersOf } from '../../src/core/timers.ts'
import type { ProbePort, ProbeResult, Prober } from '../../src/ports/prober.ts'

const TARGET = { name: 'alpha', host: '127.0.0.1', port: 5501, apiPort: 5551 }
const TIMERS = timersOf(600)

/** A primary whose ports do as they are told. */
class ScriptedPrimary implements Prober {
  answer: ProbeResult = 'answers'
  readonly asked: ProbePort[] = []
  readonly #ends: (() => void)[] = []
  opens = true

  async probe(_: unknown, port: ProbePort, deadlineMs: number): Promise<ProbeResult> {
    this.asked.push(port)
    if (this.answer === 'silent') await sleep(deadlineMs)
    return this.answer
  }

  hold(_: unknown, __: ProbePort, onOpen: () => void, onEnd: () => void): () => void {
    if (this.opens) {
      queueMicrotask(onOpen)
      this.#ends.push(onEnd)
    } else queueMicrotask(onEnd)
    return () => {}
  }

  die(answer: ProbeResult): void {
    this.answer = answer
    this.opens = false
    for (const end of this.#ends.splice(0)) end()
  }
}

const watches: PrimaryWatch[] = []

function watching(primary: ScriptedPrimary, onChange: () => void = () => {}): PrimaryWatch {
  const clock = { nowMs: () => performance.now(), timestamp: () => '' }
  const watch = new PrimaryWatch(primary, clock, TIMERS, onChange)
  watches.push(watch)
  watch.watch(TARGET)
  return watch
}

afterEach(() => {
  for (const watch of watches.splice(0)) watch.close()
})

describe('watching a primary', () => {
  it('asks nothing while both connections stand', async () => {
    const primary = new ScriptedPrimary()
    const watch = watching(primary)
    await sleep(50)
    expect(primary.asked).toEqual([])
    expect(watch.seen).toMatchObject({ agent: { kind: 'answers' }, postgres: { kind: 'answers' } })
  })

  it('knows of a death as soon as the ports refuse', async () => {
    const primary = new ScriptedPrimary()
    const changed = new Promise<void>((resolve) => {
      const watch = watching(primary, () => {
        if (watch.seen?.agent.kind === 'refused' && watch.seen.postgres.kind === 'refused') resolve()
      })
    })
    await sleep(10)
    primary.die('refused')
    await changed
  })

  it('counts silence from the first question that was not answered, however old the last answer is', async () => {
    const primary = new ScriptedPrimary()
    const watch = watching(primary)
    await sleep(300)
    const askedAtMs = performance.now()
    primary.answer = 'silent'
    watch.doubt()
    await sleep(TIMERS.probeMs * 4)
    const { agent, postgres } = watch.seen ?? {}
    for (const probe of [agent, postgres]) {
      expect(probe?.kind).toBe('silent')
      expect(Math.abs((probe?.atMs ?? 0) - askedAtMs)).toBeLessThan(TIMERS.probeMs)
    }
  })

  it('asks soon again when a port that is just dying answers something else first', async () => {
    const primary = new ScriptedPrimary()
    const watch = watching(primary)
    await sleep(10)
    primary.opens = false
    // The first question is answered by nothing in particular, at once.
    primary.probe = async (_, port) => {
      primary.asked.push(port)
      return primary.asked.length <= 2 ? 'silent' : 'refused'
    }
    const startedAtMs = performance.now()
    primary.die('refused')
    while (watch.seen?.postgres.kind !== 'refused') await sleep(1)
    expect(performance.now() - startedAtMs).toBeLessThan(TIMERS.probeMs)
  })
})
