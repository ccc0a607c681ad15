/** The simulator can fail: every deliberately broken variant of the decision is caught, by the seed beside it. */
import { describe, expect, it } from 'vitest'
import { MUTANTS } from '../../sim/mutants.ts'
import { type RunOptions, simulate } from '../../sim/simulate.ts'

interface Catch extends Pick<RunOptions, 'seed' | 'nodes'> {
  /** The invariant that it is caught by. */
  readonly by: RegExp
  readonly durability?: 'quorum' | 'async'
}

/** Found by trying seeds from 1 on; another one is needed only when the model or the decision changes its course. */
const CAUGHT: Readonly<Record<string, Catch>> = {
  noCarry: { seed: 1, nodes: 3, by: /^I2/ },
  dropI2: { seed: 2, nodes: 3, by: /^(I2|I11|P1|P2)/ },
  leastAdvanced: { seed: 2, nodes: 5, by: /^(I11|P1|P2)/ },
  posNaive: { seed: 1, nodes: 3, by: /^I3/ },
  noFence: { seed: 1, nodes: 3, by: /^I3/ },
  resumeNoBump: { seed: 1, nodes: 3, by: /^I6/ },
  noSteadyAck: { seed: 1, nodes: 3, by: /^I2/ },
  walrcvOnly: { seed: 33, nodes: 5, by: /^I3/ },
  primaryNoVote: { seed: 8, nodes: 3, by: /^progress/ },
  switchNoPromise: { seed: 1, nodes: 3, by: /^I3/ },
  removeOther: { seed: 7, nodes: 5, by: /^(I2|I11|P1|P2)/ },
  pgFirst: { seed: 15, nodes: 5, by: /^I2/ },
  noProbe: { seed: 44, nodes: 5, by: /^I2/ },
  noHistoryCheck: { seed: 1, nodes: 3, by: /^I8/ },
  zeroCandNoLease: { seed: 1, nodes: 3, by: /^I10/, durability: 'async' },
  nextRuleForgotten: { seed: 1, nodes: 3, by: /^I2/ },
  zeroNoFence: { seed: 4, nodes: 5, by: /^I10/, durability: 'async' },
}

const MINUTES = 8

describe('a decision that lacks one rule', () => {
  it.each(Object.entries(CAUGHT))('is caught: %s', (name, { seed, nodes, by, durability = 'quorum' }) => {
    const mutant = MUTANTS[name]
    if (mutant === undefined) throw new Error(`no mutant ${name}`)
    const broken = simulate({ seed, nodes, durability, minutes: MINUTES, ...mutant })
    expect(broken.violation, mutant.why).toMatch(by)
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
