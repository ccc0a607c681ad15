/** Takes the COPY stream of BASE_BACKUP apart: files to disk, the manifest to its reader; and compares the two at the end. */
import { UnderstudyError } from '../errors/codes.ts'
import { BackupManifestReader, type ManifestFile, type ManifestSummary } from '../protocol/backup-manifest.ts'
import { BaseBackupReader } from '../protocol/base-backup-messages.ts'
import { type TarEntry, TarReader } from '../protocol/tar-reader.ts'
import { ProtocolViolation } from '../protocol/violation.ts'
import { BackupFiles, type BackupFilesOptions, type WrittenFile } from './backup-files.ts'
import { CONTROL_FILE, CONTROL_FILE_UNVERIFIED } from './target-directory.ts'

/** What a source's server or operator put there for the source itself: checked like every file, and not kept. */
const NOT_KEPT = new Set([
  'postmaster.pid',
  'postmaster.opts',
  'standby.signal',
  'recovery.signal',
  'recovery.done',
  'backup_manifest',
])

export interface BackupSinkOptions extends BackupFilesOptions {
  /** Permission bits that the copy may have: 0o700 or 0o750 as data_directory_mode says. */
  readonly directoryMode: number
  /** Paths that the caller writes itself at the end. */
  readonly replaced: readonly string[]
}

export class BackupSink {
  readonly files: BackupFiles
  readonly #options: BackupSinkOptions
  readonly #notKept: ReadonlySet<string>
  readonly #messages: BaseBackupReader
  readonly #tar: TarReader
  readonly #manifest: BackupManifestReader
  readonly #manifestText: Buffer[] = []
  readonly #unmatched: ManifestFile[] = []
  #inManifest = false
  #bytesDone = 0

  constructor(options: BackupSinkOptions) {
    this.#options = options
    this.#notKept = new Set([...NOT_KEPT, ...options.replaced])
    this.files = new BackupFiles(options)
    this.#tar = new TarReader({
      entry: (entry) => this.#beginEntry(entry),
      data: (slice) => this.files.data(slice),
      entryEnd: () => this.files.end(),
    })
    this.#manifest = new BackupManifestReader((file) => this.#check(file))
    this.#messages = new BaseBackupReader({
      archive: (name) => {
        if (name !== 'base.tar') throw new ProtocolViolation(`the server sent the unexpected archive ${name}`)
      },
      manifest: () => {
        this.#inManifest = true
      },
      data: (slice) => this.#takeData(slice),
      progress: () => undefined,
    })
  }

  /** Bytes of the archive so far, headers included; the server's estimate of the total does not know them. */
  get bytesDone(): number {
    return this.#bytesDone
  }

  get manifestText(): readonly Buffer[] {
    return this.#manifestText
  }

  part(part: Buffer, offset: number, total: number): void {
    this.#messages.part(part, offset, total)
  }

  /** After the whole stream and files.finish(). Throws 'backup-corrupt' when files and manifest differ in anything. */
  verify(): ManifestSummary {
    this.#tar.finish()
    const summary = corruptIfUnreadable(() => this.#manifest.finish())
    const mismatch = this.#unmatched[0]
    if (mismatch !== undefined)
      throw mismatchFailure(mismatch, this.files.written.get(mismatch.path), this.#unmatched.length)
    if (summary.fileCount !== this.files.written.size) {
      throw new UnderstudyError(
        'backup-corrupt',
        `The server sent ${this.files.written.size} files and its manifest names ${summary.fileCount}`,
      )
    }
    return summary
  }

  #takeData(slice: Buffer): void {
    if (!this.#inManifest) {
      this.#bytesDone += slice.length
      this.#tar.push(slice)
      return
    }
    this.#manifestText.push(slice)
    corruptIfUnreadable(() => this.#manifest.push(slice))
  }

  #beginEntry(entry: TarEntry): void {
    const { directoryMode } = this.#options
    if (entry.type === 'directory') {
      if (entry.path !== '') this.files.directory(entry.path, directoryMode)
      return
    }
    if (entry.type !== 'file') {
      throw new UnderstudyError(
        'tablespaces',
        `The source has a link at ${entry.path}; only plain files can be copied`,
      )
    }
    const storeAs = entry.path === CONTROL_FILE ? CONTROL_FILE_UNVERIFIED : entry.path
    const mode = (entry.mode & directoryMode & 0o666) | 0o600
    this.files.begin({
      path: entry.path,
      storeAs: this.#notKept.has(entry.path) ? null : storeAs,
      sizeBytes: entry.sizeBytes,
      mode,
    })
  }

  /** The manifest comes after every file, and file checksums are complete as soon as their last byte has arrived. */
  #check(file: ManifestFile): void {
    const written = this.files.written.get(file.path)
    const same =
      file.rawPath === null &&
      written !== undefined &&
      written.sizeBytes === file.sizeBytes &&
      file.checksumAlgorithm === this.#options.checksums &&
      written.checksum === file.checksum
    if (!same) this.#unmatched.push(file)
  }
}

function mismatchFailure(
  file: ManifestFile,
  written: WrittenFile | undefined,
  count: number,
): UnderstudyError {
  const what =
    written === undefined
      ? 'was not sent'
      : written.sizeBytes !== file.sizeBytes
        ? `has ${written.sizeBytes} bytes instead of ${file.sizeBytes}`
        : `does not match its ${file.checksumAlgorithm ?? ''} checksum`
  const more = count > 1 ? ` (and ${count - 1} more files differ)` : ''
  return new UnderstudyError('backup-corrupt', `${file.path} ${what}${more}`)
}

function corruptIfUnreadable<T>(action: () => T): T {
  try {
    return action()
  } catch (error) {
    if (!(error instanceof ProtocolViolation)) throw error
    throw new UnderstudyError('backup-corrupt', `The manifest cannot be trusted: ${error.message}`, {
      cause: error,
    })
  }
}
