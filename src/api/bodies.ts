/** What the bodies of requests for a change may hold; a key that is not known is refused, for it was meant to do something. */
import { z } from 'zod'

const by = z.string().trim().min(1).max(200).optional()
const reason = z.string().trim().min(1).max(500)
const node = z.string().min(1).max(100).optional()
const epoch = z.number().int().nonnegative().optional()
const dryRun = z.boolean().optional()

export const switchoverBody = z.strictObject({
  to: node,
  dryRun,
  epoch,
  at: z.string().max(100).optional(),
  by,
})
export const cancelBody = z.strictObject({ by })
export const failoverBody = z.strictObject({
  to: node,
  acceptDataLoss: z.boolean().optional(),
  dryRun,
  epoch,
  missing: z.array(z.string().max(100)).max(100).optional(),
  by,
  reason: reason.optional(),
})
export const recoverStoreBody = z.strictObject({
  without: z.array(z.string().max(100)).max(100).optional(),
  acceptDataLoss: z.boolean().optional(),
  dryRun,
  epoch,
  by,
  reason: reason.optional(),
})
export const pauseBody = z.strictObject({ reason: reason.nullable(), by })
export const resumeBody = z.strictObject({ by })
export const memberBody = z.strictObject({ by })
export const bundleBody = z.strictObject({
  files: z.record(z.string().max(100), z.base64().max(400_000)),
  dryRun,
  by,
})
export const reinitBody = z.strictObject({ dryRun, by })

/** The body when it is as it should be, else a sentence that names what is not. An empty body is an empty object. */
export function readBody<T>(
  schema: z.ZodType<T>,
  text: string,
): { readonly kind: 'ok'; readonly value: T } | { readonly kind: 'wrong'; readonly reason: string } {
  let value: unknown
  try {
    value = text.trim() === '' ? {} : JSON.parse(text)
  } catch {
    return { kind: 'wrong', reason: 'the body is not JSON' }
  }
  const parsed = schema.safeParse(value)
  if (parsed.success) return { kind: 'ok', value: parsed.data }
  const [issue] = parsed.error.issues
  const where = issue === undefined || issue.path.length === 0 ? 'the body' : issue.path.join('.')
  return { kind: 'wrong', reason: `${where}: ${issue?.message ?? 'is not as it should be'}` }
}
