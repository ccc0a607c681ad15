/** The marks of a node that is given up: the first while that is under way, the second, which keeps its agent from starting, when it is done. */
import path from 'node:path'
import { readTextIfPresent, removeFileDurably, writeFileAtomic } from '../../postgres/durable.ts'

export interface ReleaseMark {
  readonly at: string
  readonly by: string | null
}

export function releasingFile(nodeDirectory: string): string {
  return path.join(nodeDirectory, 'releasing.json')
}

export function releasedFile(nodeDirectory: string): string {
  return path.join(nodeDirectory, 'released.json')
}

/** null: it was not given up. */
export async function readReleaseMark(
  nodeDirectory: string,
): Promise<{ readonly mark: ReleaseMark; readonly isFinished: boolean } | null> {
  for (const file of [releasedFile(nodeDirectory), releasingFile(nodeDirectory)]) {
    const text = await readTextIfPresent(file)
    if (text !== null)
      return { mark: JSON.parse(text) as ReleaseMark, isFinished: file === releasedFile(nodeDirectory) }
  }
  return null
}

export async function beginRelease(nodeDirectory: string, mark: ReleaseMark): Promise<void> {
  await write(releasingFile(nodeDirectory), mark)
}

export async function endRelease(nodeDirectory: string, mark: ReleaseMark): Promise<void> {
  await write(releasedFile(nodeDirectory), mark)
  await removeFileDurably(releasingFile(nodeDirectory))
}

async function write(file: string, mark: ReleaseMark): Promise<void> {
  await writeFileAtomic(file, `${JSON.stringify(mark)}\n`, { durable: true })
}
