/** `understudy completion SHELL`: prints the script that teaches a shell this program's commands and flags. */
import type { Command } from 'commander'
import { nearest } from '../../config/nearest.ts'
import { UnderstudyError } from '../../errors/codes.ts'
import { completionScript, completionTree, SHELLS } from '../completion.ts'
import { EXIT, print } from '../output.ts'

export async function run(options: { readonly shell: string; readonly program: Command }): Promise<number> {
  const shell = SHELLS.find((each) => each === options.shell)
  if (shell === undefined) {
    const meant = nearest(options.shell, SHELLS)
    throw new UnderstudyError('usage', `there is no completion for the shell ${options.shell}`, {
      hint: `${meant === null ? '' : `Did you mean ${meant}? `}It takes ${SHELLS.join(', ')}.`,
    })
  }
  print(completionScript(shell, completionTree(options.program)).trimEnd())
  return EXIT.done
}
