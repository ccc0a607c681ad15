/** Where the cluster's documents are: etcd, or on one machine the embedded store. */
import { z } from 'zod'
import { documented } from '../fields.ts'

export const storeSection = documented(
  z
    .strictObject({
      endpoints: documented(
        z.array(z.url({ protocol: /^https?$/, error: 'it is no http:// or https:// address' })).min(1),
        {
          description:
            'One or more `http://` or `https://` addresses of etcd (every member, so that any may be down), or of the embedded store.',
          takesEffect: 'agent',
          example: ['https://10.0.0.1:2379', 'https://10.0.0.2:2379', 'https://10.0.0.3:2379'],
        },
      ),
      caFile: file('The authority that signed etcd’s certificates.', 'store/ca.crt'),
      certFile: file('A client certificate for etcd (`--client-cert-auth`).', 'store/client.crt'),
      keyFile: file('The key of `certFile`, mode 0600.', 'store/client.key'),
      username: documented(z.string().min(1).optional(), {
        description: 'The user of etcd’s own authentication; `passwordFile` has its password.',
        takesEffect: 'agent',
        example: 'understudy',
      }),
      passwordFile: file('A file with the password of `username`, mode 0600.', 'secrets/store-password'),
      tokenFile: file('The token of the embedded store, mode 0600.', 'secrets/store-token'),
    })
    .superRefine((store, context) => {
      const need = (has: unknown, wants: unknown, key: string, message: string): void => {
        if (has !== undefined && wants === undefined)
          context.addIssue({ code: 'custom', path: [key], message })
      }
      need(
        store.username,
        store.passwordFile,
        'username',
        'passwordFile is missing: a user without a password cannot log in',
      )
      need(store.passwordFile, store.username, 'passwordFile', 'username is missing: whose password is it?')
      need(
        store.certFile,
        store.keyFile,
        'certFile',
        'keyFile is missing: a certificate is nothing without its key',
      )
      need(store.keyFile, store.certFile, 'keyFile', 'certFile is missing: which certificate is it for?')
      if (store.tokenFile !== undefined && store.username !== undefined)
        context.addIssue({
          code: 'custom',
          path: ['tokenFile'],
          message: 'a token is for the embedded store, username is for etcd: choose one',
        })
    }),
  {
    description:
      'Where the cluster’s documents are: etcd 3.4 or later, or the embedded store of a local cluster.',
  },
)

function file(description: string, example: string): z.ZodOptional<z.ZodString> {
  return documented(z.string().min(1).optional(), { description, example, takesEffect: 'agent' })
}
