/** The contract on the embedded store, as a process of its own. */
import { storeContract } from './contract.ts'
import { faultsContract } from './faults-contract.ts'
import { startEmbeddedServer } from './servers.ts'
import { watchContract } from './watch-contract.ts'

const setup = { name: 'embedded store', start: () => startEmbeddedServer() }
storeContract(setup)
watchContract(setup)
faultsContract(setup)
