/** PostgreSQL itself: which one, and what a person sets in it. */
import { z } from 'zod'
import { documented } from '../fields.ts'

export const postgresSection = documented(
  z
    .strictObject({
      binaries: documented(z.union([z.string().min(1), z.number().int().transform(String)]).optional(), {
        description:
          'A directory with `postgres` and `initdb`, or a major version. Left out: what is found on the machine, the one from npm last.',
        takesEffect: 'postgres',
        example: '/usr/lib/postgresql/15/bin',
      }),
      parameters: documented(
        z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])).default({}),
        {
          description:
            'Your own PostgreSQL parameters. Those that would break replication are left out, with the reason in `conf/user.conf`, in the events, and in `understudy config validate`.',
          takesEffect: 'agent',
          example: { work_mem: '16MB', log_min_duration_statement: '250ms' },
        },
      ),
      hba: documented(z.array(z.string()).default([]), {
        description:
          'Your own lines of `pg_hba.conf`. They come after the ones that understudy writes, so they can only add to those.',
        takesEffect: 'agent',
        example: ['hostssl reports report 10.9.0.0/16 scram-sha-256'],
      }),
    })
    .prefault({}),
  { description: 'The PostgreSQL of every node.' },
)

export const applicationSection = documented(
  z
    .strictObject({
      database: documented(z.string().min(1).max(63).default('app'), {
        description: 'The application’s database, made at bootstrap.',
        takesEffect: 'fixed',
      }),
      user: documented(z.string().min(1).max(63).default('app'), {
        description: 'Its owner: the user that `understudy url` names.',
        takesEffect: 'fixed',
      }),
    })
    .prefault({}),
  { description: 'What is made for the application when the cluster begins.' },
)
