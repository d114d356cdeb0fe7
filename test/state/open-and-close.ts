// Opens and closes databases again and again, in a process of its own (threads.test.ts).
import { join } from 'node:path'
import { openStore } from '../../src/state/open-store.ts'

const [dir = '', rounds = '1'] = process.argv.slice(2)
const NAMES = ['a', 'b', 'c', 'd']

for (let round = 0; round < Number(rounds); round++) {
  const stores = await Promise.all(NAMES.map((name) => openStore('nxt', join(dir, name))))
  const puts = Array.from({ length: 200 }, (_, i) => [`k${i}`, Buffer.alloc(500, round)] as const)
  await Promise.all(stores.map((store) => store.write({ puts })))
  await Promise.all(stores.map((store) => store.close()))
}
