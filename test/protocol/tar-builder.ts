/** Makes tar archives for tests, well formed ones and others. */
export interface TarSpec {
  readonly name: string
  readonly type?: string
  readonly content?: Buffer
  readonly mode?: number
  readonly link?: string
  readonly prefix?: string
  /** Written as base-256, as PostgreSQL does from 8 GiB on. */
  readonly base256?: boolean
  /** Claimed instead of the content's length. */
  readonly size?: number
}

export const TAR_END = Buffer.alloc(1024)

export function tarEntry(spec: TarSpec): Buffer {
  const content = spec.content ?? Buffer.alloc(0)
  const header = Buffer.alloc(512)
  header.write(spec.name, 0, 100, 'utf8')
  header.write(octal(spec.mode ?? 0o600, 7), 100)
  const size = spec.size ?? content.length
  if (spec.base256 === true) {
    header.writeBigUInt64BE(BigInt(size), 128)
    header[124] = 0x80
  } else {
    header.write(octal(size, 11), 124)
  }
  header.write(octal(1_700_000_000, 11), 136)
  header.write(spec.type ?? '0', 156)
  header.write(spec.link ?? '', 157, 100)
  header.write('ustar\u000000', 257)
  header.write(spec.prefix ?? '', 345, 155)
  writeSum(header)
  return Buffer.concat([header, content, Buffer.alloc((512 - (content.length % 512)) % 512)])
}

export function paxEntry(records: Readonly<Record<string, string>>, type = 'x'): Buffer {
  const lines = Object.entries(records).map(([key, value]) => {
    const rest = ` ${key}=${value}\n`
    let length = Buffer.byteLength(rest) + 1
    while (Buffer.byteLength(`${length}${rest}`) !== length) length++
    return `${length}${rest}`
  })
  return tarEntry({ name: 'PaxHeader', type, content: Buffer.from(lines.join('')) })
}

function writeSum(header: Buffer): void {
  header.write('        ', 148)
  const sum = header.reduce((total, byte) => total + byte, 0)
  header.write(`${octal(sum, 6)}\0 `, 148)
}

function octal(value: number, digits: number): string {
  return value.toString(8).padStart(digits, '0')
}
