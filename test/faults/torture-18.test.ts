/** In a file of its own, so that it runs beside the others. */
import { shortTorture } from './short-torture.ts'

shortTorture('18', 1801, { throughProxy: true })
