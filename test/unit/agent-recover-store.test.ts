/** `recover-store` at an agent's API: what it writes into a store that has forgotten the cluster, and what a person is shown before. */
import { describe, expect, it } from 'vitest'
import { recoverStore } from '../../src/agent/controls/recover-store.ts'
import type { NodeDetail } from '../../src/api/contract.ts'
import { paintFor } from '../../src/cli/paint.ts'
import { recoveryLines } from '../../src/cli/recovery-plan.ts'
import { succeeding } from '../../src/core/knowledge.ts'
import { formatPrimacy, type Primacy } from '../../src/core/primacy.ts'
import { agentParts, type Parts } from '../support/agent-parts.ts'
import { IDENTITY, MEMBERS, primacy, rule, SYSTEM_IDENTIFIER, switchoverTo } from '../support/views.ts'

const FIRST = primacy()
const LATER = succeeding(
  { ...FIRST, epoch: 3, primary: 'bravo', rules: [{ ...rule(1, ['alpha'], 'bravo'), epoch: 3 }] },
  'later',
)

function detail(name: string, known: Primacy | null, promisedEpoch = 3): NodeDetail {
  const document =
    known === null
      ? null
      : {
          epoch: known.epoch,
          phase: known.phase,
          primary: known.primary,
          text: formatPrimacy(known),
          identity: IDENTITY,
        }
  const answer = {
    status: { name, timelineId: 2 },
    promisedEpoch,
    known: document,
    systemIdentifier: SYSTEM_IDENTIFIER,
  }
  return answer as unknown as NodeDetail
}

function details(...known: readonly (Primacy | null)[]) {
  return new Map(MEMBERS.map(({ name }, index) => [name, detail(name, known[index] ?? null)] as const))
}

async function forget(parts: Parts): Promise<void> {
  await parts.memory.transact({
    compare: [],
    success: [{ op: 'deletePrefix', prefix: '/understudy/main/' }],
  })
}

async function readFacts(parts: Parts) {
  const facts = await parts.store.readFacts()
  if (facts.kind !== 'ok') throw new Error('the store is down')
  return facts.value
}

describe('recover-store', () => {
  it('puts document and identity back into an empty store, and takes the mark away', async () => {
    const parts = await agentParts()
    await forget(parts)
    expect(await parts.store.markStale({ by: 'bravo', epoch: 3 }, null)).toEqual({ kind: 'ok', value: true })
    const shown = await recoverStore(parts.context, { dryRun: true }, details(FIRST, LATER, FIRST))
    expect(shown).toMatchObject({
      kind: 'ok',
      value: { accepted: false, refusal: null, epoch: 4, source: 'bravo' },
    })
    expect((await readFacts(parts)).primacy).toBeNull()

    const done = await recoverStore(parts.context, { epoch: 4, by: 'ann@desk' }, details(FIRST, LATER, FIRST))
    expect(done).toMatchObject({ kind: 'ok', value: { accepted: true } })
    expect(await readFacts(parts)).toMatchObject({
      primacy: {
        value: { epoch: 4, phase: 'electing', primary: 'bravo', rules: [{ primary: 'bravo', acks: 1 }] },
      },
      identity: IDENTITY,
      stale: null,
      leaseHolder: null,
    })
    expect(parts.kinds()).toContain('store-recovered')
  })

  it('removes what was asked for in another time, and puts the lease back that a primary may count on (I10)', async () => {
    const parts = await agentParts()
    const { primacy: before } = await readFacts(parts)
    await parts.store.requestSwitchover(switchoverTo('charlie').value, {
      primacy: before?.revision ?? 0n,
      request: null,
    })
    const alone = { ...LATER, rules: [{ ...rule(0, [], 'bravo'), epoch: 3 }] }
    await recoverStore(parts.context, {}, details(FIRST, alone, FIRST))
    expect(await readFacts(parts)).toMatchObject({ switchover: null, leaseHolder: 'bravo' })
  })

  it('writes nothing when it is refused, or when another epoch was seen', async () => {
    const parts = await agentParts()
    const silent = new Map([...details(FIRST, LATER, FIRST), ['charlie', null] as const])
    expect(await recoverStore(parts.context, {}, silent)).toMatchObject({
      value: { accepted: false, refusal: { code: 'member-silent' } },
    })
    expect(await recoverStore(parts.context, { epoch: 9 }, details(FIRST, LATER, FIRST))).toMatchObject({
      value: { accepted: false, refusal: { code: 'stale-epoch' } },
    })
    expect((await readFacts(parts)).primacy?.value.epoch).toBe(1)
  })

  it('lets nobody change a store that is marked, whatever he has read', async () => {
    const parts = await agentParts()
    const { primacy: before } = await readFacts(parts)
    const revision = before?.revision ?? 0n
    expect(await parts.store.markStale({ by: 'bravo', epoch: 3 }, revision + 1n)).toEqual({
      kind: 'ok',
      value: false,
    })
    await parts.store.markStale({ by: 'bravo', epoch: 3 }, revision)
    const no = { kind: 'ok', value: false }
    expect(await parts.store.writePrimacy(LATER, revision)).toEqual(no)
    expect(await parts.store.takePrimaryLease('alpha', revision, 1n)).toEqual(no)
    await forget(parts)
    await parts.store.markStale({ by: 'bravo', epoch: 3 }, null)
    expect(await parts.store.publishCluster(FIRST, IDENTITY, 0n)).toEqual(no)
  })

  it('shows what each node knows, and what may be lost', async () => {
    const parts = await agentParts()
    const silent = new Map([...details(FIRST, LATER, null), ['charlie', null] as const])
    const wish = { dryRun: true, without: ['charlie'], acceptDataLoss: true }
    const answer = await recoverStore(parts.context, wish, silent)
    if (answer.kind !== 'ok') throw new Error(answer.reason)
    const text = recoveryLines(answer.value, { width: 100, paint: paintFor(false) }).join('\n')
    expect(text).toContain('The store says epoch 1, steady')
    expect(text).toMatch(/bravo +answers +3 +epoch 3, steady +bravo +2/)
    expect(text).toMatch(/charlie +silent/)
    expect(text).toContain('bravo knows most: it is put back as an election in epoch 14.')
    expect(text).toContain('If charlie knows of an epoch after 3')
  })
})
