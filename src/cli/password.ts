/** Reads a password file of the cluster. */
import { readFile } from 'node:fs/promises'
import { UnderstudyError } from '../errors/codes.ts'

export async function readPassword(file: string): Promise<string> {
  try {
    return (await readFile(file, 'utf8')).replace(/\r?\n$/, '')
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code === 'EACCES')
      throw new UnderstudyError('no-permission', `cannot read the password in ${file}`, {
        hint: 'Run the command as the user that owns the cluster, or as root.',
      })
    if (code === 'ENOENT')
      throw new UnderstudyError('not-found', `the password file ${file} is not there`, {
        hint: 'Has the cluster been started? `understudy up` makes it; a copy of the cluster needs its secrets too.',
      })
    throw error
  }
}
