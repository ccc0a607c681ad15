/** One process of a sweep: a job in, its outcome out; ends with its parent. */
import { simulate } from './simulate.ts'
import type { Job, Outcome } from './sweep.ts'

process.on('message', (job) => {
  const { lines: _, ...outcome } = simulate({ ...(job as Job), keep: 0 })
  process.send?.(outcome satisfies Outcome)
})
