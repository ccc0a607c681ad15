/** One step of taking over a server: it can be done again, and undone, from wherever it was interrupted. */
import type { ResolvedConfig, ResolvedNode } from '../../../config/load.ts'
import type { HomeLayout } from '../../machines/home.ts'
import type { Target } from '../connect.ts'
import type { Journal } from '../journal.ts'

export interface StepContext {
  readonly journal: Journal
  readonly layout: HomeLayout
  /** As the operator's directory has it: secrets and certificates are there. */
  readonly config: ResolvedConfig
  readonly node: ResolvedNode
  readonly target: Target
  /** A line for whoever waits. */
  readonly say: (line: string) => void
}

export interface Step {
  readonly id: string
  /** What it does, for whoever reads along. */
  title(context: StepContext): string
  carryOut(context: StepContext): Promise<void>
  /** Also when it was never begun, or only in part. */
  undo(context: StepContext): Promise<void>
}
