import { expect, test } from 'vitest'
import { Mail } from '../../src/core/mail.ts'

type Sent = [messages: readonly number[], transfer: ArrayBuffer[]]

test('messages of one turn go together, in order, with all that they hand over', async () => {
  const sent: Sent[] = []
  const mail = new Mail<number>((messages, transfer) => sent.push([messages, transfer]))
  const [a, b] = [new ArrayBuffer(1), new ArrayBuffer(2)]
  mail.post(1, a)
  mail.post(2)
  mail.post(3, b)
  expect(sent).toEqual([])
  await new Promise((resolve) => process.nextTick(resolve))
  expect(sent).toEqual([
    [
      [1, 2, 3],
      [a, b],
    ],
  ])
  expect(sent[0]?.[1]).toEqual([a, b])
  mail.post(4)
  await new Promise((resolve) => process.nextTick(resolve))
  expect(sent.slice(1)).toEqual([[[4], []]])
})

test('what is flushed goes at once and once', async () => {
  const sent: Sent[] = []
  const mail = new Mail<number>((messages, transfer) => sent.push([messages, transfer]))
  mail.flush()
  mail.post(1)
  mail.flush()
  mail.post(2)
  mail.flush()
  mail.flush()
  await new Promise((resolve) => setImmediate(resolve))
  expect(sent.map(([messages]) => messages)).toEqual([[1], [2]])
})

test('what is posted while others are sent goes after them', async () => {
  const got: number[] = []
  const mail: Mail<number> = new Mail((messages) => {
    got.push(...messages)
    if (got.length < 3) mail.post(got.length + 1)
  })
  mail.post(1)
  await new Promise((resolve) => setImmediate(resolve))
  expect(got).toEqual([1, 2, 3])
})
