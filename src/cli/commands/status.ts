/** `understudy status`: the board, once or again and again; --json is for scripts, and so is the exit code. */
import { connectionLines, renderBoard } from '../board.ts'
import { readStatus, type SeenStatus, statusExitCode } from '../cluster-status.ts'
import type { ClusterFlags } from '../flags.ts'
import { openCluster } from '../local/open.ts'
import { colourFor, print, printJson, widthOf } from '../output.ts'
import { programName } from '../program-name.ts'

export interface StatusOptions extends ClusterFlags {
  readonly json?: boolean
  readonly watch?: boolean
}

export async function run(options: StatusOptions): Promise<number> {
  const { config } = await openCluster(options)
  if (options.watch) {
    const { watchBoard } = await import('../watch.ts')
    return watchBoard({
      read: (signal) => readStatus(config, { signal }),
      render: (seen, screen) => renderBoard(seen.status, screen),
    })
  }
  const seen = await readStatus(config)
  if (options.json) printJson(seen.status)
  else print(boardLines(seen, options))
  return statusExitCode(seen)
}

function boardLines(seen: SeenStatus, flags: ClusterFlags): string[] {
  const screen = { width: widthOf(process.stdout), colour: colourFor(process.stdout) }
  if (!seen.answered) return renderBoard(seen.status, screen)
  const connection = connectionLines({
    program: programName(process.argv, process.env),
    data: flags.data ?? null,
    ...(flags.config === undefined ? {} : { config: flags.config }),
  })
  return renderBoard(seen.status, { ...screen, connection })
}
