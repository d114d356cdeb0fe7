import { describe, expect, test } from 'vitest'
import { Reader, Writer } from '../../src/core/bytes.ts'
import { hash128, type Identifier, identifierKey, profileKey } from '../../src/core/identifier.ts'
import { decodeLeaf, decodeMessage, decodeRoot, encodeLeaf, encodeMessage, encodeRoot } from '../../src/identity/codec.ts'
import { causesIn, type IdentityMessage, type Propose } from '../../src/identity/messages.ts'
import { causesOf, Root } from '../../src/identity/root.ts'
import { carried } from './world.ts'

const identifier = (priority: number, namespace: string, value: string): Identifier => ({
  key: identifierKey(priority, namespace, value),
  namespace,
  value,
})
const user = identifier(0, 'user_id', 'u-17')
const cookie = identifier(3, 'anonymous_id', '6f1c1fa0-5d3c-4d34-9d5e-0f6f1a2b3c4d')
const device = identifier(255, 'gerät ☎', 'x')
const [a, b, c] = [profileKey(user.key, 0), profileKey(cookie.key, 1), profileKey(device.key, 65535)]
const cause = (position: number) => ({ partition: position % 7, position, stamp: 1.7e12 + position, messageId: `m-${position}` })
const event = carried(7, [user, cookie])
const waiting = { event, cause: cause(9) }
const proposal: Propose = {
  kind: 'propose',
  to: a,
  from: b,
  x: user.key,
  own: true,
  ids: [cookie, device].map(({ key, namespace }) => ({ key, namespace })),
  cause: cause(2 ** 50),
}

const MESSAGES: readonly IdentityMessage[] = [
  { kind: 'arrive', event, cause: cause(1) },
  { kind: 'event', to: a, via: b, event, cause: cause(2) },
  { kind: 'link', x: device, asker: a, cause: cause(3) },
  { kind: 'linked', to: a, x: device.key, v: 300, cause: cause(4) },
  { kind: 'known', to: b, x: device.key, by: a, cause: cause(5) },
  { kind: 'meet', to: b, x: cookie, asker: a, cause: cause(6) },
  proposal,
  { kind: 'accept', to: b, x: cookie.key, by: a, own: false, cause: cause(8) },
  { kind: 'refuse', to: b, x: cookie.key, own: true, reason: 'guard:user_id', cause: cause(9) },
  { kind: 'again', to: b, x: cookie.key, cause: cause(10) },
  { kind: 'repoint', x: cookie.key, was: b, to: a, cause: cause(11) },
  {
    kind: 'handover',
    to: a,
    from: b,
    x: cookie.key,
    own: true,
    root: {
      publicId: hash128('p'),
      ids: [
        { identifier: cookie, v: 1 },
        { identifier: device, v: 3 },
      ],
      refused: [user.key],
      links: [{ x: user, cause: cause(12) }],
      waiting: [waiting],
    },
    state: Buffer.from([0, 255, 1]),
    cause: cause(13),
  },
  {
    kind: 'handover',
    to: a,
    from: b,
    x: cookie.key,
    own: false,
    root: { publicId: undefined, ids: [], refused: [], links: [], waiting: [] },
    state: Buffer.alloc(0),
    cause: cause(14),
  },
]

const roundTrip = (root: Root): Root => {
  const w = new Writer()
  encodeRoot(root, w)
  const r = new Reader(w.take())
  const back = decodeRoot(root.key, r, root.publicId)
  expect(r.done).toBe(true)
  return back
}

describe('messages', () => {
  test.each(MESSAGES.map((m) => [m.kind, m] as const))('%s comes back as it went', (_, m) => {
    expect(decodeMessage(encodeMessage(m))).toEqual(m)
  })

  test('a hand-over keeps open what it carries', () => {
    const handover = MESSAGES.find((m) => m.kind === 'handover') as IdentityMessage
    expect(causesIn(handover).map(({ position }) => position)).toEqual([13, 12, 9])
  })

  test('another version is refused', () => {
    const bytes = encodeMessage(proposal)
    bytes[0] = 0x20
    expect(() => decodeMessage(bytes)).toThrow('unknown version 2')
  })
})

test('leaves', () => {
  for (const v of [1, 2, 1000]) expect(decodeLeaf(encodeLeaf({ key: c, v }))).toEqual({ key: c, v })
  expect(encodeLeaf({ key: a, v: 1 })).toHaveLength(20)
  expect(() => decodeLeaf(Buffer.alloc(20))).toThrow('unknown version 0')
})

function busyRoot(): Root {
  const root = new Root(a)
  root.ids.set(user.key, { identifier: user, v: 1 })
  root.ids.set(device.key, { identifier: device, v: 2 })
  root.refused.add(cookie.key)
  root.granted.set(b, { ids: proposal.ids, causes: [cause(20)] })
  root.links = [{ x: cookie, cause: cause(21) }]
  root.wants = [{ x: device, asker: c, cause: cause(22) }]
  root.held = [proposal]
  root.waiting = [waiting]
  return root
}

describe('roots', () => {
  test('with everything under way, in each state', () => {
    for (const doing of [
      { state: 'idle' },
      { state: 'asked', x: cookie, by: undefined, cause: cause(23) },
      { state: 'asked', x: cookie, by: b, cause: cause(23) },
      { state: 'proposed', x: cookie, to: b, cause: cause(24) },
      { state: 'offered', x: cookie, to: c, cause: cause(25) },
    ] as const) {
      const root = busyRoot()
      root.doing = doing
      const back = roundTrip(root)
      expect(back).toEqual(root)
      expect([...back.ids.keys()]).toEqual([...root.ids.keys()])
      expect(causesOf(back)).toEqual(causesOf(root))
    }
  })

  test('an idle one with two identifiers takes little more than these', () => {
    const root = new Root(a, hash128('p'))
    for (const x of [user, cookie]) root.ids.set(x.key, { identifier: x, v: 1 })
    expect(roundTrip(root)).toEqual(root)
    const w = new Writer()
    encodeRoot(root, w)
    // Head, count; per identifier a namespace byte and a length; the key of the one that isn't the founder.
    expect(w.length).toBe(2 + (2 + user.value.length) + (2 + 17 + cookie.value.length))
  })

  test('birth and public id go together', () => {
    const w = new Writer()
    encodeRoot(new Root(a, 'p'), w)
    expect(() => decodeRoot(a, new Reader(w.take()), undefined)).toThrow('born exactly when')
  })
})
