/**
 * `npm run sim`: one seed with its trace, a range of seeds, or `--sweep`, which is what CI runs; `--seed` is the first one everywhere.
 * `--mutant NAME` breaks the decision on purpose. Exit code 1: something was violated.
 */
import { parseArgs } from 'node:util'
import { MUTANTS } from './mutants.ts'
import { simulate } from './simulate.ts'
import { printed, sweep } from './sweep.ts'

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    count: { type: 'string', default: '1' },
    minutes: { type: 'string', default: '15' },
    nodes: { type: 'string', default: '3' },
    durability: { type: 'string', default: 'quorum' },
    mutant: { type: 'string' },
    lines: { type: 'string', default: '120' },
    trace: { type: 'boolean', default: false },
    sweep: { type: 'boolean', default: false },
    jobs: { type: 'string', default: '2' },
  },
})

const mutant = values.mutant === undefined ? undefined : MUTANTS[values.mutant]
if (values.mutant !== undefined && mutant === undefined)
  throw new Error(`no mutant ${values.mutant}; there are ${Object.keys(MUTANTS).join(', ')}`)

function range(): boolean {
  const count = Number(values.count)
  const began = Date.now()
  let bad = 0
  let simulatedMs = 0
  for (let i = 0; i < count; i++) {
    const result = simulate({
      seed: Number(values.seed) + i,
      minutes: Number(values.minutes),
      nodes: values.nodes === '5' ? 5 : 3,
      durability: values.durability === 'async' ? 'async' : 'quorum',
      ...(mutant ?? {}),
      ...(values.trace ? { onTrace: (line: string) => console.log(line) } : {}),
    })
    simulatedMs += result.simulatedMs
    if (count === 1) console.log(result.lines.slice(-Number(values.lines)).join('\n'))
    if (result.violation === null) continue
    bad++
    console.log(`seed ${result.seed} at ${Math.round(result.simulatedMs)}: ${result.violation}`)
  }
  const seconds = ((Date.now() - began) / 1_000).toFixed(1)
  console.log(`${bad} of ${count} violate; ${printed(simulatedMs)} in ${seconds} s`)
  return bad === 0
}

const clean = values.sweep
  ? await sweep({
      firstSeed: Number(values.seed),
      seeds: values.count === '1' ? 2_000 : Number(values.count),
      minutes: Number(values.minutes),
      jobs: Number(values.jobs),
    })
  : range()
process.exitCode = clean ? 0 : 1
