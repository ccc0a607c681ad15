/** The simulator can fail: every deliberately broken variant of the decision is caught, by the seed beside it. */
import { describe, expect, it } from 'vitest'
import { MUTANTS } from '../../sim/mutants.ts'
import { type RunOptions, simulate } from '../../sim/simulate.ts'

interface Catch extends Pick<RunOptions, 'seed' | 'nodes'> {
  /** The invariant that it is caught by. */
  readonly by: RegExp
  readonly durability?: 'quorum' | 'async'
}

/** The first seed that catches it, found from 1 on; when the model or the decision changes its course the ones behind it are tried too. */
const CAUGHT: Readonly<Record<string, Catch>> = {
  noCarry: { seed: 1, nodes: 3, by: /^I2/ },
  dropI2: { seed: 1, nodes: 3, by: /^(I2|I11|P1|P2)/ },
  bareLsn: { seed: 8, nodes: 5, by: /^(I2|I11|P1|P2)/ },
  leastAdvanced: { seed: 1, nodes: 3, by: /^(I2|I11|P1|P2)/ },
  posNaive: { seed: 1, nodes: 3, by: /^I3/ },
  noFence: { seed: 1, nodes: 3, by: /^I3/ },
  resumeNoBump: { seed: 1, nodes: 3, by: /^I6/ },
  noSteadyAck: { seed: 1, nodes: 3, by: /^I2/ },
  walrcvOnly: { seed: 70, nodes: 3, by: /^I3/ },
  primaryNoVote: { seed: 2, nodes: 3, by: /^progress/ },
  noPromise: { seed: 1, nodes: 3, by: /^(I3|progress)/ },
  switchNoPromise: { seed: 1, nodes: 5, by: /^I3/ },
  removeOther: { seed: 12, nodes: 5, by: /^(I2|I11|P1|P2|progress)/ },
  pgFirst: { seed: 3, nodes: 5, by: /^I2/ },
  noProbe: { seed: 71, nodes: 5, by: /^I2/ },
  sentinelNoVote: { seed: 6, nodes: 3, by: /^progress/ },
  noSettle: { seed: 12, nodes: 5, by: /^(I2|I5)/ },
  noHistoryCheck: { seed: 1, nodes: 3, by: /^I8/ },
  zeroCandNoLease: { seed: 5, nodes: 5, by: /^I10/, durability: 'async' },
  nextRuleForgotten: { seed: 18, nodes: 3, by: /^I2/ },
  staleBelieved: { seed: 3, nodes: 3, by: /^(I6|I7|P1)/ },
  onlyEpochRecovered: { seed: 13, nodes: 5, by: /^P1/ },
  oldDocumentKept: { seed: 16, nodes: 3, by: /^I6/ },
  zeroNoFence: { seed: 1, nodes: 5, by: /^I10/, durability: 'async' },
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
