/**
 * Five speeds of tests: fast (pure, no processes), component (one real part each), sim (the decision in a simulated cluster, every core
 * for itself), cluster (whole clusters, one at a time), faults
 * (clusters whose parts are killed, frozen and cut off). A sixth, systemd, boots machines and is asked for: `npm run test:systemd`.
 * `npm test` runs the projects one after the other; the group order says the same to a plain `vitest run`.
 */
import { defineConfig } from 'vitest/config'

/** What is drawn depends on the terminal, what script(1) starts on the shell: the same ones everywhere, also where there are none. */
const env = { TERM: 'xterm-256color', SHELL: '/bin/bash' }

export default defineConfig({
  test: {
    pool: 'forks',
    projects: [
      {
        test: {
          name: 'fast',
          include: ['test/{core,protocol,unit,tidy}/**/*.test.ts'],
          testTimeout: 20_000,
          env,
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          name: 'component',
          include: ['test/{store,postgres,replication,proxy,cli}/**/*.test.ts'],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          fileParallelism: true,
          maxWorkers: 2,
          env,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          name: 'sim',
          include: ['test/sim/**/*.test.ts'],
          testTimeout: 120_000,
          fileParallelism: false,
          env,
          sequence: { groupOrder: 2 },
        },
      },
      {
        test: {
          name: 'cluster',
          include: ['test/cluster/**/*.test.ts'],
          testTimeout: 180_000,
          hookTimeout: 120_000,
          // Each has ports and networks of its own, and leaves half of a small machine unused.
          fileParallelism: true,
          maxWorkers: 2,
          env,
          sequence: { groupOrder: 3 },
        },
      },
      {
        test: {
          name: 'faults',
          include: ['test/faults/**/*.test.ts'],
          testTimeout: 180_000,
          hookTimeout: 120_000,
          // They wait more than they work.
          fileParallelism: true,
          maxWorkers: 2,
          env,
          sequence: { groupOrder: 4 },
        },
      },
      {
        test: {
          name: 'systemd',
          include: ['test/systemd/**/*.test.ts'],
          testTimeout: 300_000,
          hookTimeout: 900_000,
          fileParallelism: false,
          env,
          sequence: { groupOrder: 5 },
        },
      },
    ],
  },
})
