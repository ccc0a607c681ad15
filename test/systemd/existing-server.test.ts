/** Debian's packaged cluster and a standby of it, each under its own unit, on machines that systemd boots: from the take-over to the release. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ensureBuilt } from '../support/built.ts'
import { machinesMissing } from './debian.ts'
import {
  agentOf,
  answers,
  CONFIG,
  eventsOf,
  fill,
  HOME,
  NODE_DIRECTORY,
  OLD_UNIT,
  postmasterPid,
  START_FILE,
  servedBy,
  takeWords,
  until,
} from './debian-server.ts'
import { type Machine, Machines } from './machine.ts'

const MISSING = await machinesMissing()
const WITH_PROXY = ['--proxy-port', '6433'] as const
const PROXY = 'understudy-main-alpha-proxy.service'
const OF_BRAVO = '/var/lib/postgresql/15/understudy-main-bravo'

let machines: Machines
let alpha: Machine
let bravo: Machine

beforeAll(async () => {
  if (MISSING !== null) return
  ensureBuilt()
  machines = await Machines.boot('alpha', 'bravo')
  alpha = machines.get('alpha')
  bravo = machines.get('bravo')
  await setUpStandby()
})
afterAll(async () => machines?.close())

/** As a person does it with Debian's tools. */
async function setUpStandby(): Promise<void> {
  await fill(alpha)
  await alpha.sh(`
    echo "listen_addresses = '*'" > /etc/postgresql/15/main/conf.d/own.conf
    echo "host replication streamer ${bravo.address}/32 scram-sha-256" >> /etc/postgresql/15/main/pg_hba.conf
    echo "host all shop ${alpha.address}/24 scram-sha-256" >> /etc/postgresql/15/main/pg_hba.conf
    systemctl restart ${OLD_UNIT}`)
  await alpha.sql("CREATE ROLE shop LOGIN PASSWORD 'shop'")
  await alpha.sql("CREATE ROLE streamer LOGIN REPLICATION PASSWORD 'streaming'")
  await bravo.sh(`
    systemctl stop ${OLD_UNIT}
    rm -r /var/lib/postgresql/15/main
    setpriv --reuid=postgres --regid=postgres --clear-groups \\
      pg_basebackup -D /var/lib/postgresql/15/main -R -d 'host=${alpha.address} user=streamer password=streaming'
    systemctl start ${OLD_UNIT}`)
  await streams(bravo)
}

/** As an application, from the other machine. */
async function answersThroughProxy(): Promise<void> {
  const uri = `postgresql://shop:shop@${alpha.address}:6433/postgres`
  const ask = (): Promise<string> => bravo.run('psql', '-XAtqc', 'SELECT current_user', uri)
  await until(alpha, 'an answer of the proxy', async () => (await ask()).trim() === 'shop')
}

async function streams(machine: Machine): Promise<void> {
  await until(
    machine,
    'a stream',
    async () => (await machine.sql('SELECT status FROM pg_stat_wal_receiver')) === 'streaming',
  )
}

describe.skipIf(MISSING !== null)(
  `a packaged cluster of Debian under systemd${MISSING === null ? '' : ` (${MISSING})`}`,
  () => {
    test('is taken over with one restart, which its own unit neither undoes nor repeats', async () => {
      expect(await alpha.show(OLD_UNIT, 'ActiveState')).toBe('active')
      expect(await alpha.exec(takeWords(alpha, ...WITH_PROXY, '--dry-run'))).toMatchObject({
        code: 0,
        stdout: expect.stringContaining(agentOf(alpha)),
      })
      expect(await servedBy(alpha)).toBe('debian')
      const taken = await alpha.exec(takeWords(alpha, ...WITH_PROXY, '--yes'))
      expect(taken, `${taken.stdout}${taken.stderr}`).toMatchObject({ code: 0 })
      await answers(alpha)
      const events = await eventsOf(alpha)
      expect(events.map(({ kind }) => kind).filter((kind) => /^(start|stop)-/.test(kind))).toEqual([
        'stop-done',
        'start-done',
      ])
      const [stop, start] = events.filter(({ kind }) => /^(start|stop)-/.test(kind))
      console.info(
        `without a server for ${Date.parse(start?.at ?? '') - Date.parse(stop?.at ?? '') + (stop?.details?.durationMs ?? 0)} ms`,
      )
      expect(await alpha.show(OLD_UNIT, 'ActiveState')).toBe('inactive')
      expect(await alpha.show(agentOf(alpha), 'ActiveState')).toBe('active')
      expect(await alpha.show(OLD_UNIT, 'DropInPaths')).toBe('')
      // Neither does anybody start it by its old name.
      await alpha.exec(['systemctl', 'start', OLD_UNIT])
      await alpha.exec(['systemctl', 'restart', 'postgresql.service'])
      expect(await servedBy(alpha)).toBe('understudy')
      expect((await eventsOf(alpha)).length).toBe(events.length)
      // Its standby has found it again.
      await streams(bravo)
      await answersThroughProxy()
    })

    test('has units of which systemd-analyze finds nothing to say', async () => {
      for (const unit of [agentOf(alpha), PROXY, 'understudy-main-etcd.service']) {
        const verified = await alpha.exec(['systemd-analyze', 'verify', unit])
        expect(`${verified.stdout}${verified.stderr}`).toBe('')
        const { stdout } = await alpha.exec(['systemd-analyze', 'security', '--no-pager', unit])
        console.info(stdout.split('\n').at(-2))
        console.info(
          stdout
            .split('\n')
            .filter((line) => line.startsWith('✗'))
            .join('\n'),
        )
      }
    })

    test('has a PostgreSQL that outlives its agent: reloaded, killed, hanging', async () => {
      const before = await postmasterPid(alpha)
      const another = async (how: () => Promise<unknown>): Promise<void> => {
        const agent = await alpha.show(agentOf(alpha), 'MainPID')
        await how()
        await until(alpha, 'another agent', async () => {
          const now = await alpha.show(agentOf(alpha), 'MainPID')
          const { stdout } = await alpha.exec(['understudy', 'status', '--json', '--config', CONFIG])
          const { nodes } = JSON.parse(stdout) as { nodes: { state: string }[] }
          return (
            now !== agent &&
            now !== '0' &&
            (await alpha.show(agentOf(alpha), 'ActiveState')) === 'active' &&
            nodes[0]?.state === 'running'
          )
        })
        expect(await postmasterPid(alpha)).toBe(before)
        await answers(alpha)
      }
      await another(() => alpha.run('systemctl', 'reload', agentOf(alpha)))
      await another(async () => alpha.run('kill', '-9', await alpha.show(agentOf(alpha), 'MainPID')))
      // As shipped it is 90 s.
      await alpha.sh(`mkdir -p /run/systemd/system/${agentOf(alpha)}.d
      printf '[Service]\\nWatchdogSec=6\\n' > /run/systemd/system/${agentOf(alpha)}.d/hasty.conf
      systemctl daemon-reload`)
      await another(() => alpha.run('systemctl', 'reload', agentOf(alpha)))
      const began = performance.now()
      await another(async () => alpha.run('kill', '-STOP', await alpha.show(agentOf(alpha), 'MainPID')))
      console.info(
        `a hanging agent was replaced after ${Math.round(performance.now() - began)} ms, with a watchdog of 6 s`,
      )
      expect(await alpha.show(agentOf(alpha), 'Result')).toBe('success')
    })

    test('comes back by itself after a reboot', async () => {
      await alpha.reboot()
      await answers(alpha)
      expect(await servedBy(alpha)).toBe('understudy')
      expect(await alpha.show(OLD_UNIT, 'ActiveState')).toBe('inactive')
      expect(await alpha.sh('systemctl --failed --plain --no-legend')).toBe('')
      await answersThroughProxy()
      // It was stopped in order: nothing was recovered.
      expect(await alpha.sh(`grep -rl 'database system was interrupted' ${NODE_DIRECTORY}/log || true`)).toBe(
        '',
      )
      await streams(bravo)
    })

    test('brings its standby with it, which comes back by itself as well', async () => {
      await alpha.run(
        'understudy',
        'add',
        `bravo=${bravo.address}`,
        '--dir',
        HOME,
        '--directory',
        OF_BRAVO,
        '--socket-directory',
        '/var/run/postgresql',
      )
      const bundle = await alpha.run('base64', `${HOME}/bundles/bravo.tar.gz`)
      await bravo.exec(
        ['sh', '-euc', 'install -d -m 700 -o postgres /etc/understudy; base64 -d | tar -xzC /etc/understudy'],
        { input: bundle },
      )
      const joined = await bravo.exec([
        'understudy',
        'join',
        '--from',
        'postgresql:///postgres',
        '--config',
        CONFIG,
        '--yes',
      ])
      expect(joined, `${joined.stdout}${joined.stderr}`).toMatchObject({ code: 0 })
      expect(
        (await eventsOf(bravo, OF_BRAVO))
          .map(({ kind }) => kind)
          .filter((kind) => /^(start|stop)-/.test(kind)),
      ).toEqual(['stop-done', 'start-done'])
      expect(await bravo.show(OLD_UNIT, 'ActiveState')).toBe('inactive')
      await streams(bravo)
      await bravo.reboot()
      await streams(bravo)
      expect(await servedBy(bravo)).toBe('understudy')
      await alpha.sql("INSERT INTO item VALUES ('of today')")
      await until(
        bravo,
        'the row',
        async () => (await bravo.sql("SELECT count(*) FROM item WHERE name = 'of today'")) === '1',
      )
    })

    test('is released with its standby, without an end of PostgreSQL, and by the lines that are printed is Debian’s again', async () => {
      const before = [await postmasterPid(alpha), await postmasterPid(bravo)]
      const said = await alpha.run('understudy', 'release', '--dir', HOME, '--yes')
      expect([await postmasterPid(alpha), await postmasterPid(bravo)]).toEqual(before)
      for (const machine of [bravo, alpha]) {
        await until(
          machine,
          'the end of the agent',
          async () => (await machine.show(agentOf(machine), 'ActiveState')) === 'inactive',
        )
        const lines = new RegExp(`^${machine.name} \\(.*\\n((?:  .*\\n)+)`, 'm').exec(said)?.[1] ?? ''
        expect(lines).toContain('systemctl disable')
        await machine.sh(lines)
      }
      for (const machine of [bravo, alpha]) {
        expect(await servedBy(machine)).toBe('debian')
        expect(await machine.show(OLD_UNIT, 'ActiveState')).toBe('active')
        expect(await machine.run('cat', START_FILE)).toContain('auto')
      }
      await streams(bravo)
      await alpha.reboot()
      await bravo.reboot()
      for (const machine of [bravo, alpha]) expect(await servedBy(machine)).toBe('debian')
      await streams(bravo)
      await alpha.sql("INSERT INTO item VALUES ('at last')")
      await until(
        bravo,
        'the row',
        async () => (await bravo.sql("SELECT count(*) FROM item WHERE name = 'at last'")) === '1',
      )
    })
  },
)
