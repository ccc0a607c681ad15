/** The contract on etcd. */
import { describe, test } from 'vitest'
import { storeContract } from './contract.ts'
import { faultsContract } from './faults-contract.ts'
import { ETCD_MISSING, startEtcd } from './servers.ts'
import { watchContract } from './watch-contract.ts'

const setup = { name: 'etcd', start: () => startEtcd() }
if (ETCD_MISSING === null) {
  storeContract(setup)
  watchContract(setup)
  faultsContract(setup)
} else {
  describe('etcd', () => test.skip(`the contract: ${ETCD_MISSING}`))
}
