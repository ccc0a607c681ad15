/** The board: every sentence that a person decides by, and that no width makes it wrap or lose what matters. */
import { describe, expect, it } from 'vitest'
import { connectionLines, renderBoard, shellQuote } from '../../src/cli/board.ts'
import { displayWidth } from '../../src/cli/text.ts'
import { lossSentence, quorumSentence, verdict } from '../../src/cli/verdict.ts'
import { clusterStatus, nodeStatus } from '../support/cluster-status.ts'

const plain = { width: 110, colour: false }

describe('the board of a healthy cluster', () => {
  it('shows nodes, lag, the quorum in words and how to connect', () => {
    const connection = connectionLines({ program: 'understudy', data: null })
    expect(renderBoard(clusterStatus(), { ...plain, connection })).toEqual([
      'main  epoch 3, timeline 1',
      'Healthy. Any one node may be lost without losing an acknowledged commit.',
      '',
      '  NODE     ROLE     STATE      TIMELINE  FLUSH LSN  BEHIND   DELAY  SYNC    ADDRESS         STREAMS FROM',
      '  alpha    primary  running           1  0/5000148       -       -  -       127.0.0.1:5501  -',
      '  bravo    standby  streaming         1  0/5000148  1.5 kB  1.2 ms  quorum  127.0.0.1:5502  alpha',
      '  charlie  standby  streaming         1  0/5000148  3.0 kB  2.4 ms  quorum  127.0.0.1:5503  alpha',
      '',
      '  Durability  each commit waits for 1 of bravo, charlie',
      '  If lost     alpha: bravo or charlie takes over, writes go on',
      '              bravo or charlie: writes go on',
      '',
      '  understudy psql             opens psql on the primary',
      '  understudy url              prints the URI for applications',
      '  understudy status --watch   keeps this board up to date',
    ])
  })

  it.each([30, 40, 60, 80, 100, 200])('fits into %i columns and keeps node, role and state', (width) => {
    const lines = renderBoard(clusterStatus(), { width, colour: false })
    for (const line of lines.slice(1)) expect(displayWidth(line)).toBeLessThanOrEqual(width)
    const bravo = lines.find((line) => line.includes('bravo') && line.includes('standby'))
    expect(bravo).toContain('stream')
  })

  it('gives up the columns that are needed least first', () => {
    const header = (width: number): string =>
      renderBoard(clusterStatus(), { width, colour: false }).find((line) => line.includes('NODE')) ?? ''
    expect(header(80)).not.toContain('STREAMS FROM')
    expect(header(80)).toContain('BEHIND')
    expect(header(44)).not.toContain('SYNC')
    expect(header(44)).toContain('BEHIND')
  })

  it('has escapes only when colours are asked for', () => {
    expect(renderBoard(clusterStatus(), plain).join('')).not.toContain('\u001b')
    expect(renderBoard(clusterStatus(), { ...plain, colour: true }).join('')).toContain('\u001b[32m')
  })
})

describe('the board of a cluster in trouble', () => {
  const bravoDown = clusterStatus({
    healthy: false,
    nodes: [
      nodeStatus('alpha'),
      nodeStatus('bravo', { state: 'unreachable', role: 'unknown', flushLsn: null, replayLagBytes: null }),
      nodeStatus('charlie', { state: 'catchingUp' }),
    ],
    problems: [
      {
        code: 'connect-failed',
        severity: 'error',
        node: 'bravo',
        since: '2026-11-22T12:00:00Z',
        message: 'its agent\ndoes not \u001b[31manswer',
        hint: 'Start it.',
      },
    ],
  })

  it('says what is missing, and each problem with its hint', () => {
    const text = renderBoard(bravoDown, plain).join('\n')
    expect(text).toContain('Not healthy: bravo is unreachable; charlie is catching up.')
    expect(text).toContain('  ! bravo: its agent does not [31manswer [connect-failed]\n    HINT: Start it.')
  })

  it('does not name the node twice', () => {
    const [problem] = bravoDown.problems
    if (problem === undefined) throw new Error('no problem')
    const problems = [{ ...problem, message: 'bravo does not stream' }]
    const text = renderBoard({ ...bravoDown, problems }, plain).join('\n')
    expect(text).toContain('  ! bravo does not stream [connect-failed]')
  })

  it('lets no control character of another machine through', () => {
    expect(renderBoard(bravoDown, plain).join('')).not.toContain('\u001b')
  })

  it('prints the rule and the reason of each node when given', () => {
    const why = [{ node: 'bravo', rule: 'follow', reason: 'alpha is primary in epoch 3', since: '' }]
    expect(renderBoard(bravoDown, { ...plain, why })).toContain(
      '  bravo       alpha is primary in epoch 3 (follow)',
    )
  })
})

describe('the verdict', () => {
  it.each([
    ['nothing answers', { nodes: [nodeStatus('alpha', { state: 'unreachable' })] }, /^Nothing answers/],
    ['an election', { primary: null, phase: 'electing', healthy: false }, /a new primary is being made/],
    ['no primary', { primary: null, phase: null, healthy: false }, /there is no primary yet/],
    [
      'a stopped primary',
      { nodes: [nodeStatus('alpha', { state: 'stopped' }), nodeStatus('bravo')], healthy: false },
      /the primary alpha is stopped/,
    ],
  ] as const)('with %s says that writes wait', (_what, over, sentence) => {
    const said = verdict(clusterStatus(over))
    expect(said.mood).toBe('bad')
    expect(said.sentence).toMatch(sentence)
  })

  it('does not call a cluster healthy that says it is not', () => {
    expect(verdict(clusterStatus({ healthy: false })).sentence).toContain('has not settled yet')
  })

  it('says what asynchronous replication may lose', () => {
    const status = clusterStatus({ durability: 'async', quorum: null })
    expect(lossSentence(status)).toBe(
      'Commits do not wait for a standby: losing the primary may lose the newest ones (1.5 kB right now).',
    )
    expect(quorumSentence(status)).toBe('async: commits do not wait for a standby')
  })

  it('does not promise what no quorum keeps', () => {
    const relaxed = clusterStatus({ quorum: { acks: 0, standbys: [] }, nodes: [nodeStatus('alpha')] })
    expect(quorumSentence(relaxed)).toContain('wait for no standby')
    expect(lossSentence(relaxed)).toBe('No standby streams: the data exists once.')
  })

  it('says nothing of what is in force when nobody can tell', () => {
    expect(quorumSentence(clusterStatus({ epoch: null, quorum: null }))).toContain('is not known')
  })

  it('counts more than one node that may be lost', () => {
    const five = clusterStatus({ quorum: { acks: 2, standbys: ['bravo', 'charlie', 'delta', 'echo'] } })
    expect(lossSentence(five)).toContain('Any 2 nodes may be lost')
  })
})

describe('connection lines', () => {
  it('carry --data, quoted for the shell', () => {
    const [first] = connectionLines({ program: 'npx understudy', data: "/tmp/it's here" })
    expect(first).toContain(`npx understudy psql --data '/tmp/it'\\''s here'`)
    expect(shellQuote('/plain/path-1.0')).toBe('/plain/path-1.0')
  })
})
