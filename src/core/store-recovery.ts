/**
 * What is put into a store that has forgotten something: the newest document that any member knows, in an epoch above everything that was
 * promised, as an election. Every rule that commits may stand under is kept, so the election finds what was acknowledged (I2), and its
 * timelines begin above all that were allocated (I6). Pure.
 */
import { type Check, failed, passed } from './check.ts'
import type { StoreFacts } from './cluster-view.ts'
import { rulesToSatisfy } from './election.ts'
import { compareDocuments, descends, doubtOf, isSame } from './knowledge.ts'
import type { Identity, Knowledge, Primacy, Rule } from './primacy.ts'

/** What a member's agent answers. */
export interface MemberKnowledge {
  readonly name: string
  readonly promisedEpoch: number
  /** null: it has never known a document, or has lost its state directory. */
  readonly known: Knowledge | null
  /** Of its data directory; null: it has none. */
  readonly systemIdentifier: string | null
  readonly timelineId: number | null
}

export interface RecoveryInput {
  readonly self: string
  /** In the order of the configuration. */
  readonly members: readonly string[]
  /** Of those whose agents have answered. */
  readonly answers: ReadonlyMap<string, MemberKnowledge>
  readonly store: Pick<StoreFacts, 'primacy' | 'identity' | 'stale' | 'leaseHolder'>
  /** Whom the operator does without. */
  readonly without: readonly string[]
  readonly acceptDataLoss: boolean
  readonly by: string
  readonly reason: string | null
  /** For the document. */
  readonly id: string
}

export interface RecoveryPlan {
  readonly checks: readonly Check[]
  /** What may be lost by leaving members out, one sentence each. */
  readonly losses: readonly string[]
  /** Who knows the newest document; null: nobody knows any. */
  readonly source: string | null
  readonly document: { readonly primacy: Primacy; readonly identity: Identity } | null
  /** Whose lease of I10 the store may have forgotten: the election must wait for its end as if it were known. */
  readonly leaseHolder: string | null
}

/** What nobody who answers knows of may have gone on for so many elections. */
const ROOM = 10

export function planRecovery(input: RecoveryInput): RecoveryPlan {
  const counted = [...input.answers.values()].filter(({ name }) => !input.without.includes(name))
  const newest = newestOf(counted)
  const document = newest === null ? null : documentOf(input, counted, newest.known)
  return {
    checks: [
      knowledgeCheck(newest),
      ...identityChecks(input, counted),
      neededCheck(input, counted),
      ...memberChecks(input, counted),
      lossCheck(input),
    ],
    losses: lossesOf(input, newest?.known.primacy ?? null),
    source: newest?.name ?? null,
    document,
    leaseHolder: document === null ? null : forgottenHolder(document.primacy, input.store.leaseHolder),
  }
}

interface Informed {
  readonly name: string
  readonly known: Knowledge
}

function newestOf(counted: readonly MemberKnowledge[]): Informed | null {
  const informed = counted.flatMap(({ name, known }) => (known === null ? [] : [{ name, known }]))
  return informed.reduce<Informed | null>(
    (best, each) =>
      best === null || compareDocuments(each.known.primacy, best.known.primacy) > 0 ? each : best,
    null,
  )
}

function documentOf(
  input: RecoveryInput,
  counted: readonly MemberKnowledge[],
  newest: Knowledge,
): { readonly primacy: Primacy; readonly identity: Identity } {
  const stored = input.store.primacy?.value
  const known = counted.flatMap((each) => (each.known === null ? [] : [each.known.primacy]))
  const documents = stored === undefined ? known : [...known, stored]
  const room = input.without.length > 0 ? ROOM : 0
  const promises = counted.map(({ promisedEpoch }) => promisedEpoch)
  const epoch = Math.max(...promises, ...documents.map((each) => each.epoch)) + 1 + room
  const timelines = [
    ...documents.map((each) => each.highestTimelineId),
    ...counted.map(({ timelineId }) => timelineId ?? 0),
  ]
  const why = input.reason === null ? '' : `: ${input.reason}`
  const primacy: Primacy = {
    ...newest.primacy,
    epoch,
    phase: 'electing',
    rules: rulesOf(newest.primacy, documents),
    nextRule: null,
    highestTimelineId: Math.max(...timelines) + room,
    startedBy: input.self,
    reason: `${input.by} puts back what the store has forgotten${why}`,
    planned: false,
    candidate: null,
    override: null,
    writtenOff: {
      ...newest.primacy.writtenOff,
      ...Object.fromEntries(input.without.map((name) => [name, epoch])),
    },
    // Nothing before it: whoever knows an older one cannot tell, and believes it by its number and its epoch.
    lineage: {
      number: Math.max(...documents.map(({ lineage }) => lineage.number)) + 1,
      id: input.id,
      before: [],
    },
  }
  return { primacy, identity: newest.identity }
}

/**
 * Those of the newest document, and of every other one that it was not written upon: somebody may have gone on from what the store had
 * forgotten, and PostgreSQL may be set by it.
 */
function rulesOf(newest: Primacy, documents: readonly Primacy[]): readonly Rule[] {
  const others = documents.filter((each) => !descends(newest, each))
  const rules = others.flatMap(rulesToSatisfy).sort((a, b) => a.epoch - b.epoch)
  const all = [...rules, ...rulesToSatisfy(newest)]
  return all.filter((rule, at) => all.findIndex((each) => isSame(each, rule)) === at)
}

/** Where votes prove nothing, the end of a lease does, and the store may not know of it. */
function forgottenHolder(primacy: Primacy, held: string | null): string | null {
  const alone = primacy.rules.filter(({ acks }) => acks === 0).at(-1)
  return alone === undefined || alone.primary === held ? null : alone.primary
}

// ---- what it is refused with

function knowledgeCheck(newest: Informed | null): Check {
  const check = 'knowledge'
  if (newest === null)
    return failed(check, 'nothing-known', 'no member that answers knows who was primary, or under which rule')
  const { epoch, phase, primary } = newest.known.primacy
  return passed(check, `${newest.name} knows most: epoch ${epoch}, ${phase}, primary ${primary}`)
}

function identityChecks({ store }: RecoveryInput, counted: readonly MemberKnowledge[]): readonly Check[] {
  const check = 'identity'
  const named = counted.flatMap(({ name, systemIdentifier, known }) =>
    [systemIdentifier, known?.identity.systemIdentifier].flatMap((id) =>
      id == null ? [] : [[id, name] as const],
    ),
  )
  const [first] = named
  if (first === undefined) return []
  const differs = named.find(([id]) => id !== first[0])
  if (differs !== undefined)
    return [
      failed(
        check,
        'system-identifier',
        `${first[1]} is of the cluster ${first[0]}, and ${differs[1]} of ${differs[0]}`,
        'Move the directory of the node away that does not belong here, or leave it out: --without NODE.',
      ),
    ]
  const stored = store.identity?.systemIdentifier
  if (stored !== undefined && stored !== first[0])
    return [
      failed(
        check,
        'system-identifier',
        `the store holds another cluster (${stored}), the nodes belong to ${first[0]}`,
        'Is it the right store? Only when it is: delete what it holds of this cluster, then ask again.',
      ),
    ]
  return [passed(check, `every node that has data belongs to the cluster ${first[0]}`)]
}

function neededCheck({ store }: RecoveryInput, counted: readonly MemberKnowledge[]): Check {
  const check = 'needed'
  const doubts = counted.flatMap(({ name, known, promisedEpoch }) => {
    const doubt = doubtOf({ ...store, stale: null }, known, promisedEpoch)
    return doubt === null ? [] : [`${name}: ${doubt.reason}`]
  })
  const [doubt] = doubts
  if (doubt !== undefined) return passed(check, doubt)
  if (store.stale !== null)
    return passed(check, `${store.stale.by} has found that the store forgot something`)
  const epoch = store.primacy?.value.epoch
  const says = epoch === undefined ? 'knows of no cluster' : `says epoch ${epoch}`
  return failed(check, 'nothing-to-recover', `the store ${says}, and no node knows of anything newer`)
}

function memberChecks(
  { members, answers, without }: RecoveryInput,
  counted: readonly MemberKnowledge[],
): readonly Check[] {
  const identity = counted.find(({ known }) => known !== null)?.known?.identity.systemIdentifier
  const unknown = without.filter((name) => !members.includes(name))
  return [
    ...unknown.map((name) => failed('members', 'unknown-node', `the cluster has no node ${name}`)),
    ...members.map((name) => {
      const check = 'members'
      const answer = answers.get(name)
      const belongs = answer?.known?.identity.systemIdentifier === identity
      if (without.includes(name)) {
        if (answer === undefined || answer.known === null || !belongs)
          return { check, result: 'warning', message: `goes on without ${name}, as asked for` } as const
        return failed(check, 'voter-reachable', `${name} answers: what it knows cannot be left out`)
      }
      if (answer === undefined) return failed(check, 'member-silent', `the agent of ${name} does not answer`)
      if (answer.known === null)
        return failed(
          check,
          'member-silent',
          `${name} answers, and has lost what it knew`,
          'Bring its state directory back. Only when that is gone, leave it out: --without NODE --accept-data-loss.',
        )
      const { epoch, phase } = answer.known.primacy
      return passed(
        check,
        `${name} has promised epoch ${answer.promisedEpoch} and knows of epoch ${epoch}, ${phase}`,
      )
    }),
  ]
}

function lossCheck({ without, acceptDataLoss }: RecoveryInput): Check {
  const check = 'data-loss'
  if (without.length === 0) return passed(check, 'every rule that commits may stand under is known')
  if (acceptDataLoss)
    return { check, result: 'warning', message: 'acknowledged commits may be lost, which is accepted' }
  return failed(check, 'data-loss', `what ${without.join(', ')} alone knew of may be lost`)
}

function lossesOf({ without }: RecoveryInput, newest: Primacy | null): readonly string[] {
  if (without.length === 0 || newest === null) return []
  const names = without.join(' or ')
  const rules = rulesToSatisfy(newest)
  const alone = rules.find((rule) => rule.acks === 0 && without.includes(rule.primary))
  return [
    `If ${names} knows of an epoch after ${newest.epoch}, or of another rule in it, what was acknowledged under that may be lost.`,
    ...(alone === undefined
      ? []
      : [
          `Commits on ${alone.primary} waited for nobody: the newest of them may be on ${alone.primary} alone.`,
        ]),
    `If ${names} still runs somewhere that cannot be seen from here, make sure that it is down.`,
  ]
}
