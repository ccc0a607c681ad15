/** Expected failure on the server side: a gRPC code and a sentence, as the gateway shows them. */

/** gRPC's status codes, as far as this store answers with them. */
export const GRPC = {
  invalidArgument: 3,
  notFound: 5,
  resourceExhausted: 8,
  failedPrecondition: 9,
  outOfRange: 11,
  unimplemented: 12,
  unavailable: 14,
  unauthenticated: 16,
} as const

export interface Failure {
  readonly kind: 'failure'
  readonly grpcCode: (typeof GRPC)[keyof typeof GRPC]
  readonly message: string
}

export function failure(grpcCode: Failure['grpcCode'], message: string): Failure {
  return { kind: 'failure', grpcCode, message }
}

export function isFailure(value: unknown): value is Failure {
  return typeof value === 'object' && value !== null && 'kind' in value && value.kind === 'failure'
}
