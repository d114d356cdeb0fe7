// Keys go where Kafka's Java client would put them: the numbers are what its own murmur2 (kafka-clients 4.3.1) said.
import { expect, test } from 'vitest'
import { murmur2, partitionOfKey } from '../../src/log/kafka-partitioner.ts'

const JAVA: readonly (readonly [key: string, hash: number, of16: number])[] = [
  ['', 275646681, 9],
  ['a', -1563381124, 12],
  ['ab', 316155434, 10],
  ['abc', 479470107, 11],
  ['abcd', -1323649548, 4],
  ['21', -973932308, 12],
  ['foobar', -790332482, 14],
  ['0190b8c2-7e1a-7c3d-9d5f-1234567890ab', -1903790450, 14],
  ['p_0k3v9xq2m7aa01', 210761505, 1],
  ['grün', 350648321, 1],
  ['äöüß€', -126062180, 12],
  ['😀😀', -780850237, 3],
]

test.each(JAVA)('%s', (key, hash, of16) => {
  expect(murmur2(Buffer.from(key))).toBe(hash)
  expect(partitionOfKey(key, 16)).toBe(of16)
})
