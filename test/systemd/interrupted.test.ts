/** A take-over under systemd, and the way back: the machine loses power between any two steps, and serves again by itself. */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { STEPS } from '../../src/cli/existing/carry-out.ts'
import { ensureBuilt } from '../support/built.ts'
import { machinesMissing } from './debian.ts'
import { answers, fill, HOME, OLD_UNIT, servedBy, takeWords, until } from './debian-server.ts'
import { type Machine, Machines } from './machine.ts'

const MISSING = await machinesMissing()
const JOURNAL = `${HOME}/existing.json`
const UNDO = ['understudy', 'init', '--undo', '--dir', HOME, '--yes'] as const

let machines: Machines
let alpha: Machine

beforeAll(async () => {
  if (MISSING !== null) return
  ensureBuilt()
  machines = await Machines.boot('alpha')
  alpha = machines.get('alpha')
  await fill(alpha)
})
afterAll(async () => machines?.close())

function begun(): { readonly done: readonly string[]; readonly undoing: boolean } | null {
  try {
    return JSON.parse(alpha.peek(JOURNAL) ?? 'null')
  } catch {
    return null
  }
}

async function take(): Promise<void> {
  const taken = await alpha.exec(takeWords(alpha, '--yes'))
  expect(taken, `${taken.stdout}${taken.stderr}`).toMatchObject({ code: 0 })
  await answers(alpha)
  expect(await servedBy(alpha)).toBe('understudy')
}

async function giveBack(): Promise<void> {
  const undone = await alpha.exec(UNDO)
  expect(undone, `${undone.stdout}${undone.stderr}`).toMatchObject({ code: 0 })
  await answers(alpha)
  expect(await servedBy(alpha)).toBe('debian')
  expect(await alpha.show(OLD_UNIT, 'ActiveState')).toBe('active')
  const left = await alpha.sh(
    'ls -d /etc/systemd/system/understudy* /run/systemd/system/*.d /etc/understudy /var/lib/understudy/main /var/lib/postgresql/15/under* 2>/dev/null || true',
  )
  expect(left).toBe('')
}

/** Loses power when the command has come that far, and boots again. */
async function losesPower(
  words: readonly string[],
  isThatFar: () => boolean,
  momentMs: number,
): Promise<void> {
  const ended = { yes: false }
  const said = alpha.exec(words).finally(() => {
    ended.yes = true
  })
  while (!ended.yes && !isThatFar()) await sleep(2)
  await sleep(momentMs)
  await alpha.cutPower()
  await said
  await alpha.boot()
}

describe.skipIf(MISSING !== null)(
  `a take-over under systemd${MISSING === null ? '' : ` (${MISSING})`}`,
  () => {
    const ids = STEPS.map(({ id }) => id)

    test.each(ids.slice(ids.indexOf('node')))(
      'that loses power after the step %s is served by one of the two, and finished or undone',
      async (id) => {
        const steps = ids.indexOf(id) + 1
        await losesPower(
          takeWords(alpha, '--yes'),
          () => (begun()?.done.length ?? -1) >= steps,
          Math.random() * 50,
        )
        await answers(alpha)
        if (id === 'node' || id === 'units') expect(['debian', 'understudy']).toContain(await servedBy(alpha))
        // From the guard on, the service of before starts nothing.
        else expect(await servedBy(alpha)).toBe('understudy')
        if (steps % 2 === 0) {
          await take()
          await alpha.reboot()
          await answers(alpha)
          expect(await servedBy(alpha)).toBe('understudy')
          expect(await alpha.show(OLD_UNIT, 'ActiveState')).toBe('inactive')
        }
        await giveBack()
      },
    )

    test('that is given back is Debian’s after a reboot, as if nothing had been', async () => {
      await take()
      await giveBack()
      await alpha.reboot()
      await answers(alpha)
      expect(await servedBy(alpha)).toBe('debian')
      expect(await alpha.show(OLD_UNIT, 'ActiveState')).toBe('active')
    })

    test.each([0, 300, 700, 1_500, 2_500])(
      'whose way back loses power after %d ms is served by one of the two, and goes all the way',
      async (momentMs) => {
        await take()
        await losesPower(UNDO, () => begun()?.undoing === true, momentMs)
        await answers(alpha)
        if (alpha.peek(JOURNAL) !== null) await giveBack()
        expect(await servedBy(alpha)).toBe('debian')
      },
    )
  },
)

describe.skipIf(MISSING !== null)('a server under a unit that a person has written', () => {
  const unit = 'database.service'
  const agent = 'understudy-db-alpha.service'
  const socket = '/run/database'
  const ask = async (statement: string): Promise<string> =>
    until(alpha, 'an answer', async () =>
      (
        await alpha.run(
          'setpriv',
          '--reuid=postgres',
          '--regid=postgres',
          '--clear-groups',
          'psql',
          '-XAtqh',
          socket,
          '-p',
          '5433',
          '-c',
          statement,
          'postgres',
        )
      ).trim(),
    )

  test('is taken over although that unit starts it again whenever it ends, and given back', async () => {
    await alpha.sh(`
      install -d -o postgres /srv/database
      cd /
      setpriv --reuid=postgres --regid=postgres --clear-groups /usr/lib/postgresql/15/bin/initdb -D /srv/database --auth=peer >/dev/null
      printf "port = 5433\\nunix_socket_directories = '${socket}'\\n" >> /srv/database/postgresql.conf
      printf '%s\\n' '[Service]' Type=notify User=postgres RuntimeDirectory=database Restart=always RestartSec=0 \\
        'ExecStart=/usr/lib/postgresql/15/bin/postgres -D /srv/database' \\
        'ExecStop=/usr/lib/postgresql/15/bin/pg_ctl stop -m fast -D /srv/database' \\
        '[Install]' WantedBy=multi-user.target > /etc/systemd/system/${unit}
      systemctl daemon-reload
      systemctl enable --now ${unit}`)
    const home = '/srv/understudy-db'
    const words = [
      'understudy',
      'init',
      '--from',
      `postgresql:///postgres?host=${socket}&port=5433`,
      '--cluster',
      'db',
      '--dir',
      home,
      '--yes',
    ]
    const taken = await alpha.exec([...words, '--nodes', `alpha=${alpha.address}`, '--store-on', 'alpha'])
    expect(taken, `${taken.stdout}${taken.stderr}`).toMatchObject({ code: 0 })
    const starts = await alpha.sh(
      'grep -c start-done /srv/understudy-db-alpha/log/events.jsonl; ! grep start-failed /srv/understudy-db-alpha/log/events.jsonl',
    )
    expect(starts.trim()).toBe('1')
    expect(await alpha.show(unit, 'ActiveState')).toBe('inactive')
    expect(await alpha.show(unit, 'UnitFileState')).toBe('disabled')
    expect(await ask('SHOW config_file')).toBe('/srv/understudy-db-alpha/conf/postgresql.conf')
    await alpha.reboot()
    await ask('SELECT 1')
    expect(await alpha.show(agent, 'ActiveState')).toBe('active')
    const undone = await alpha.exec(['understudy', 'init', '--undo', '--dir', home, '--yes'])
    expect(undone, `${undone.stdout}${undone.stderr}`).toMatchObject({ code: 0 })
    for (const times of ['at once', 'after a reboot']) {
      if (times !== 'at once') await alpha.reboot()
      expect(await ask('SHOW config_file'), times).toBe('/srv/database/postgresql.conf')
      expect(await alpha.show(unit, 'ActiveState'), times).toBe('active')
      expect(await alpha.show(unit, 'UnitFileState'), times).toBe('enabled')
    }
  })
})
