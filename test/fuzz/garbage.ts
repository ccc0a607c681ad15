/** What nobody should send: bytes that mean nothing, lengths that lie, floods, halves of messages. */
import { frame, query, sslRequest, startupMessage } from '../../src/protocol/frontend-messages.ts'
import { bind, execute, flush, parse, sync } from '../support/wire-client.ts'
import type { Random } from './random.ts'

const TYPES = 'QPBEDSCHdcfFXp'
const LENGTHS = [0, 1, 3, 4, 5, 60, 10_000, 0x3fffffff, 0x40000000, 0x7fffffff, -1, -2147483648] as const

/** Before anybody is somebody. */
export function drawBeginning(random: Random, marker: string): Buffer {
  switch (random.below(9)) {
    case 0:
      return random.bytes(1 + random.below(200))
    case 1:
      return lying(random, startupMessage({ user: 'app', database: marker }))
    case 2:
      return Buffer.concat([sslRequest(), startupMessage({ user: 'app' })])
    case 3:
      return Buffer.concat([Buffer.from([0x16, 3, 1]), random.bytes(300)])
    case 4:
      return startup(random.pick([0x00020000, 0x00030001, 0x0003270f, 0x00040000]), random)
    case 5:
      return Buffer.concat([startupMessage({ user: 'app' }), password(random)])
    case 6:
      return Buffer.concat([
        startupMessage({ user: marker, options: '-c x=y' }),
        password(random),
        password(random),
      ])
    case 7:
      return Buffer.concat([Buffer.from([0, 0, 0, 16, 4, 0xd2, 0x16, 0x2e]), random.bytes(8)])
    default:
      return startupMessage({ user: 'app', database: 'app' }).subarray(0, 1 + random.below(20))
  }
}

/** From somebody who has logged in. */
export function drawNonsense(random: Random, marker: string): Buffer {
  switch (random.below(8)) {
    case 0:
      return random.bytes(1 + random.below(500))
    case 1:
      return lying(random, frame(random.pick([...TYPES]).charCodeAt(0), random.bytes(random.below(100))))
    case 2:
      return Buffer.concat(Array.from({ length: 2_000 }, () => sync()))
    case 3:
      return Buffer.concat(Array.from({ length: 3_000 }, () => flush()))
    case 4:
      return query(`SELECT '${marker}${'x'.repeat(200_000)}'`).subarray(0, 100_000 + random.below(100_000))
    case 5:
      return Buffer.concat(Array.from({ length: 300 }, () => one(random, marker)))
    case 6:
      return mutated(random, Buffer.concat(Array.from({ length: 20 }, () => one(random, marker))))
    default:
      // More statements than anybody has names for.
      return Buffer.concat([
        ...Array.from({ length: 500 }, (_, i) => parse(`${marker}${i}`, `SELECT ${i}, '${marker}'`)),
        sync(),
      ])
  }
}

function one(random: Random, marker: string): Buffer {
  return random.pick([
    parse('n', `SELECT '${marker}'`),
    bind('', 'n'),
    execute(''),
    frame('C'.charCodeAt(0), Buffer.from('Sn\0')),
    query(`SELECT '${marker}'`),
    query('BEGIN'),
    query('COPY fuzzed FROM STDIN'),
    frame('d'.charCodeAt(0), Buffer.from(`1\t${marker}\n`)),
    frame('c'.charCodeAt(0)),
    frame('F'.charCodeAt(0), random.bytes(14)),
    sync(),
    flush(),
  ])
}

function lying(random: Random, message: Buffer): Buffer {
  const copy = Buffer.from(message)
  const at = copy.length > 8 && (copy[0] ?? 0) !== 0 ? 1 : 0
  if (copy.length >= at + 4) copy.writeInt32BE(random.pick(LENGTHS), at)
  return copy
}

function mutated(random: Random, bytes: Buffer): Buffer {
  const copy = Buffer.from(bytes)
  for (let i = 1 + random.below(8); i > 0; i--) copy[random.below(copy.length)] = random.below(256)
  return copy
}

function startup(version: number, random: Random): Buffer {
  const options = Array.from({ length: random.below(20) }, (_, i) => `_pq_.o${i}\0v\0`).join('')
  const body = Buffer.from(`user\0app\0database\0app\0${options}\0`, 'latin1')
  const bytes = Buffer.concat([Buffer.alloc(8), body])
  bytes.writeInt32BE(bytes.length, 0)
  bytes.writeInt32BE(version, 4)
  return bytes
}

function password(random: Random): Buffer {
  const first = `SCRAM-SHA-256\0\0\0\0\x20n,,n=,r=${random.bytes(9).toString('base64')}`
  const bodies = [Buffer.from(first, 'latin1'), random.bytes(random.below(300)), Buffer.alloc(2_000)]
  return lying(random, frame('p'.charCodeAt(0), random.pick(bodies)))
}
