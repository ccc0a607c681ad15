/** `npm run sim`: one seed with its trace, or a sweep of many. */
import { simulate } from './simulate.ts'

const argv = process.argv.slice(2)
function option(name: string, fallback: string): string {
  const at = argv.indexOf(`--${name}`)
  return at < 0 ? fallback : (argv[at + 1] ?? fallback)
}

const seed = Number(option('seed', '1'))
const count = Number(option('count', '1'))
const minutes = Number(option('minutes', '15'))
let bad = 0
const began = Date.now()
let simulatedMs = 0
for (let i = 0; i < count; i++) {
  const result = simulate({
    seed: seed + i,
    minutes,
    nodes: option('nodes', '3') === '5' ? 5 : 3,
    durability: option('durability', 'quorum') === 'async' ? 'async' : 'quorum',
    ...(argv.includes('--trace') ? { onTrace: (line: string) => console.log(line) } : {}),
  })
  simulatedMs += result.simulatedMs
  if (result.violation === null) {
    if (count === 1) console.log({ ...result, lines: undefined })
    continue
  }
  bad++
  if (count === 1) console.log(result.lines.slice(-Number(option('lines', '120'))).join('\n'))
  console.log(`seed ${result.seed} at ${Math.round(result.simulatedMs)}: ${result.violation}`)
}
console.log(
  `${bad} of ${count} violate; ${(simulatedMs / 3.6e6).toFixed(2)} h in ${(Date.now() - began) / 1000} s`,
)
