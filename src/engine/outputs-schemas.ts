// The Avro schemas of what lies in the output topics; docs/avro/ has the same as files (a test compares). Owns their evolution:
//
// 1. A field that is added has a default, and one with a default alone is ever taken away: so readers of any version read values of any
//    other. Nothing changes its type or its name.
// 2. What may get new words (causes, codes) is a text, not an enumeration.
// 3. What users sent, of any shape (the message of a dead letter, traits), is JSON text in a field. So numbers, nesting and names stay as
//    they are, whatever anybody sends; a trait that is new makes no new schema; and readers that know neither unions nor recursion of
//    Avro can take it.

const INSTANT = { type: 'long', logicalType: 'timestamp-millis' } as const
const EMPTY_OBJECT = { type: 'string', default: '{}' } as const
const OPTIONAL_TEXT = { type: ['null', 'string'], default: null } as const

export const SCHEMAS = {
  transitions: {
    type: 'record',
    name: 'Transition',
    namespace: 'tributary',
    doc: 'A profile has entered or left a segment.',
    fields: [
      { name: 'id', type: 'string', doc: 'Stable: a repeat carries the same.' },
      { name: 'segment', type: 'string' },
      { name: 'version', type: 'long', doc: 'Of the definition that decided.' },
      { name: 'profile', type: 'string', doc: 'Public id.' },
      { name: 'userId', ...OPTIONAL_TEXT },
      { name: 'transition', type: 'string', doc: 'entered or exited.' },
      { name: 'cause', type: 'string', doc: 'event, timer, merge, split, definition, consent, erasure, list.' },
      { name: 'causeId', ...OPTIONAL_TEXT, doc: 'Message id of the causing event, where there is one.' },
      { name: 'seq', type: 'long', doc: 'Without gaps per profile and segment, from 1.' },
      { name: 'at', type: INSTANT },
      { name: 'decidedAt', type: INSTANT },
    ],
  },
  merges: {
    type: 'record',
    name: 'Merge',
    namespace: 'tributary',
    doc: 'One profile has become part of another.',
    fields: [
      { name: 'id', type: 'string', doc: 'Stable: a repeat carries the same.' },
      { name: 'survivor', type: 'string', doc: 'Public id.' },
      { name: 'absorbed', type: 'string', doc: 'Public id.' },
      { name: 'at', type: INSTANT },
      { name: 'messageId', ...OPTIONAL_TEXT },
    ],
  },
  deadLetters: {
    type: 'record',
    name: 'DeadLetter',
    namespace: 'tributary',
    doc: 'Input that could not be taken.',
    fields: [
      { name: 'id', type: 'string', doc: 'Stable: a repeat carries the same.' },
      { name: 'code', type: 'string', doc: 'See docs/errors.md.' },
      { name: 'reason', type: 'string' },
      { name: 'at', type: INSTANT },
      { name: 'message', ...OPTIONAL_TEXT, doc: 'As received, as far as it could be read: JSON text.' },
    ],
  },
  profiles: {
    type: 'record',
    name: 'Profile',
    namespace: 'tributary',
    doc: 'The state of a profile as of some commit.',
    fields: [
      { name: 'id', type: 'string', doc: 'Public id, as in the key.' },
      {
        name: 'identifiers',
        type: {
          type: 'array',
          items: {
            type: 'record',
            name: 'Identifier',
            fields: [
              { name: 'namespace', type: 'string' },
              { name: 'value', type: 'string' },
            ],
          },
        },
      },
      { name: 'traits', type: 'string', doc: 'An object: JSON text.' },
      { name: 'computedTraits', ...EMPTY_OBJECT, doc: 'An object: JSON text.' },
      { name: 'segments', type: { type: 'array', items: 'string' }, doc: 'Ids of those that it is in.' },
      { name: 'createdAt', type: INSTANT },
      { name: 'updatedAt', type: INSTANT },
      { name: 'position', type: 'string', default: '', doc: 'How far its partition had come: for min-position.' },
    ],
  },
} as const

/** Their files in docs/avro/. */
export const SCHEMA_FILES = {
  ...{ transitions: 'transition.avsc', merges: 'merge.avsc', deadLetters: 'dead-letter.avsc', profiles: 'profile.avsc' },
} as const
