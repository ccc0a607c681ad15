/** The simulator can fail: every deliberately broken variant of the decision is caught, by the seed or the directed course beside it. */
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { COURSES, type CourseName } from '../../sim/courses.ts'
import { MUTANTS } from '../../sim/mutants.ts'
import { type RunOptions, simulate, simulateCourse } from '../../sim/simulate.ts'

interface Catch extends Pick<RunOptions, 'seed' | 'nodes'> {
  /** The invariant that it is caught by. */
  readonly by: RegExp
  readonly durability?: 'quorum' | 'async'
}

/** The first seed that catches it, found from 1 on; when the model or the decision changes its course the ones behind it are tried too. */
const CAUGHT: Readonly<Record<string, Catch>> = {
  noCarry: { seed: 1, nodes: 3, by: /^I2/ },
  dropI2: { seed: 1, nodes: 3, by: /^(I2|I11|P1|P2)/ },
  bareLsn: { seed: 12, nodes: 5, by: /^(I2|I11|P1|P2)/ },
  leastAdvanced: { seed: 2, nodes: 3, by: /^(I2|I11|P1|P2)/ },
  posNaive: { seed: 1, nodes: 3, by: /^I3/ },
  noFence: { seed: 1, nodes: 3, by: /^I3/ },
  resumeNoBump: { seed: 1, nodes: 3, by: /^I6/ },
  noSteadyAck: { seed: 1, nodes: 3, by: /^I2/ },
  walrcvOnly: { seed: 26, nodes: 3, by: /^I3/ },
  primaryNoVote: { seed: 1, nodes: 3, by: /^progress/ },
  noPromise: { seed: 1, nodes: 3, by: /^(I3|progress)/ },
  switchNoPromise: { seed: 1, nodes: 5, by: /^I3/ },
  removeOther: { seed: 1, nodes: 5, by: /^(I2|I11|P1|P2|progress)/ },
  pgFirst: { seed: 3, nodes: 5, by: /^I2/ },
  noProbe: { seed: 3, nodes: 5, by: /^I2/ },
  deadAnoSentVote: { seed: 9, nodes: 3, by: /^progress/ },
  noSettle: { seed: 34, nodes: 5, by: /^(I2|I5)/ },
  noHistoryCheck: { seed: 1, nodes: 3, by: /^I8/ },
  zeroCandNoLease: { seed: 1, nodes: 5, by: /^I10/, durability: 'async' },
  nextRuleForgotten: { seed: 28, nodes: 3, by: /^I2/ },
  staleBelieved: { seed: 1, nodes: 3, by: /^(I6|I7|P1)/ },
  onlyEpochRecovered: { seed: 30, nodes: 5, by: /^P1/ },
  oldDocumentKept: { seed: 34, nodes: 3, by: /^(I6|P1)/ },
  trustMemory: { seed: 3, nodes: 3, by: /^I7/ },
  handMadeVotes: { seed: 2, nodes: 3, by: /^(I6|progress)/ },
  diskLossAnySrc: { seed: 2, nodes: 3, by: /^I12/ },
  zeroNoFence: { seed: 3, nodes: 5, by: /^I10/, durability: 'async' },
}

/** What chance brings about too seldom: told from beginning to end, and caught there. */
const CAUGHT_ON_COURSE: Readonly<Record<string, { readonly course: CourseName; readonly by: RegExp }>> = {
  ownUnknown: { course: 'theBeginningIsInterrupted', by: /^progress/ },
  abortUnsafe: { course: 'aRuleIsGivenUp', by: /^I2/ },
  rejoinCounts: { course: 'aRewoundStandbyAcknowledges', by: /^P1/ },
  sentinelNoBlock: { course: 'theOnlyOtherCopyIsPromotedByHand', by: /^I2/ },
  stateLossNoGuard: { course: 'aFencedStandbyForgets', by: /^I3/ },
}

/** How many seeds are tried, the noted one first. */
const TRIES = 10
const MINUTES = 8

describe('a decision that lacks one rule', () => {
  it.each(Object.entries(CAUGHT))('is caught: %s', (name, { seed, nodes, by, durability = 'quorum' }) => {
    const mutant = MUTANTS[name]
    if (mutant === undefined) throw new Error(`no mutant ${name}`)
    const seeds = Array.from({ length: TRIES }, (_, more) => seed + more)
    const run = (each: number) =>
      simulate({ seed: each, nodes, durability, minutes: MINUTES, ...mutant }).violation
    const caught = seeds.some((each) => by.test(run(each) ?? ''))
    expect(caught, `${mutant.why}: not caught by ${by}`).toBe(true)
  })

  it.each(Object.entries(CAUGHT_ON_COURSE))('is caught on its course: %s', (name, { course, by }) => {
    const mutant = MUTANTS[name]
    if (mutant === undefined) throw new Error(`no mutant ${name}`)
    expect(simulateCourse(COURSES[course], mutant).violation, mutant.why).toMatch(by)
  })

  it('and is safe where one of two fences is left: files that lead nowhere, or an agent that starts nothing (M: stateLossNoGuard)', () => {
    const { decide, shell } = MUTANTS['stateLossNoGuard'] ?? {}
    for (const half of [{ ...(decide && { decide }) }, { ...(shell && { shell }) }])
      expect(simulateCourse(COURSES.aFencedStandbyForgets, half).violation).toBeNull()
  })

  it('is in one of the tables, whichever it is, and so is all that the specification marks', () => {
    const caught = [...Object.keys(CAUGHT), ...Object.keys(CAUGHT_ON_COURSE)].sort()
    expect(caught).toEqual(Object.keys(MUTANTS).sort())
    const text = readFileSync(new URL('../../docs/failover.md', import.meta.url), 'utf8')
    const marked = [...text.matchAll(/\(M: ([\w, ]+)\)/g)].flatMap(([, names]) => (names ?? '').split(', '))
    expect(marked.length).toBeGreaterThan(10)
    expect(caught).toEqual(expect.arrayContaining(marked))
  })

  it.each(Object.entries(COURSES))('and the whole one goes through every course: %s', (_, course) => {
    const run = () => simulateCourse(course)
    const { violation, lines } = run()
    expect(violation, course.tells).toBeNull()
    expect(run().lines).toEqual(lines)
  })

  it('and nothing is found in these runs when it is whole', () => {
    const runs = new Set(
      Object.values(CAUGHT).map(({ seed, nodes, durability }) =>
        JSON.stringify({ seed, nodes, durability: durability ?? 'quorum' }),
      ),
    )
    for (const run of runs)
      expect(simulate({ ...JSON.parse(run), minutes: MINUTES }).violation, run).toBeNull()
  })

  it('gives the same run for the same seed', () => {
    const run = () => simulate({ seed: 3, nodes: 3, durability: 'quorum', minutes: 2 })
    expect(run().lines).toEqual(run().lines)
  })
})
