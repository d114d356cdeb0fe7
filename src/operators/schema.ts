// The published JSON Schema (draft 2020-12) of a segment definition, for editors and other programs. docs/segment.schema.json is
// its text; a test compares them. parse.ts is the judge: it also checks what a schema can't say, such as that a pattern is one
// of RE2's, that a range is no empty one, and how deep and large a definition may be.
import { AGGREGATES, type Aggregate, LIMITS } from './parse.ts'

type Schema = { readonly [keyword: string]: unknown }

const ref = (name: string): Schema => ({ $ref: `#/$defs/${name}` })
const text = (description: string, more: Schema = {}): Schema => ({
  type: 'string',
  maxLength: LIMITS.textCharacters,
  description,
  ...more,
})
const described = (description: string, schema: Schema): Schema => ({ ...schema, description })

/** An object without other keys. */
function strict(properties: Schema, required: readonly string[], more: Schema = {}): Schema {
  return { type: 'object', properties, required, additionalProperties: false, ...more }
}

const COMPARATORS: { readonly [name: string]: Schema } = {
  eq: described('Equals this value. Nothing is coerced: "10" is not 10.', ref('scalar')),
  neq: described('Is present and differs from this value.', ref('scalar')),
  lt: described('Is less: numbers by value, texts by code point.', ref('scalar')),
  lte: described('Is less or equal.', ref('scalar')),
  gt: described('Is greater.', ref('scalar')),
  gte: described('Is greater or equal.', ref('scalar')),
  between: {
    description: 'Lies between two numbers or two texts, both included: [lowest, highest].',
    anyOf: [
      { type: 'array', prefixItems: [{ type: 'number' }, { type: 'number' }], items: false, minItems: 2 },
      { type: 'array', prefixItems: [ref('text'), ref('text')], items: false, minItems: 2 },
    ],
  },
  in: described('Equals one of these values.', ref('scalars')),
  notIn: described('Is present and equals none of these values.', ref('scalars')),
  contains: described('A text that has this text in it, or a list that has this element.', ref('scalar')),
  startsWith: text('A text that starts with this one.'),
  endsWith: text('A text that ends with this one.'),
  matches: text("A text in which this pattern matches somewhere (RE2's dialect).", { maxLength: LIMITS.patternCharacters, format: 're2' }),
  exists: { type: 'boolean', description: 'Whether there is a value at all. Absent and null values satisfy only "exists": false.' },
}

const DATE_COMPARATORS: { readonly [name: string]: Schema } = {
  withinLast: described('A date at most this long ago: 0 <= age < W.', ref('duration')),
  beforeLast: described('A date this long ago or longer: age >= W.', ref('duration')),
  withinNext: described('A date in the future that is less than this far ahead.', ref('duration')),
  before: described('A date before this instant.', ref('date')),
  after: described('A date after this instant.', ref('date')),
}

const ALL_COMPARATORS = { ...COMPARATORS, ...DATE_COMPARATORS }
const EVENT_HEAD = { event: ref('eventNames'), where: ref('filter') }
const WINDOW = described('Only events of the window (now - W, now].', ref('duration'))

/** At least one of these keys. */
const oneOf = (names: readonly string[]): Schema => ({ anyOf: names.map((name) => ({ required: [name] })) })

const AGGREGATE_TEXTS: { readonly [name in Aggregate]: string } = {
  sum: 'The exact decimal sum of the numbers at this path; 0 over no events.',
  avg: 'Their average; absent over no events.',
  min: 'The least of them; absent over no events.',
  max: 'The greatest of them; absent over no events.',
  distinct: 'How many different texts, numbers and booleans there are at this path; 0 over no events.',
}

function aggregateSchema(name: Aggregate): Schema {
  const properties = { ...EVENT_HEAD, within: WINDOW, [name]: described(AGGREGATE_TEXTS[name], ref('path')), ...COMPARATORS }
  return strict(properties, ['event', name], oneOf(Object.keys(COMPARATORS)))
}

function recencySchema(name: 'first' | 'last'): Schema {
  const description = `How long ago the ${name} such event was; holds for nobody without one.`
  return strict({ ...EVENT_HEAD, [name]: described(description, ref('recency')) }, ['event', name])
}

const DEFS: { readonly [name: string]: Schema } = {
  where: {
    description: 'Who belongs to the segment.',
    anyOf: ['all', 'any', 'not', 'trait', 'count', ...AGGREGATES, 'first', 'last'].map(ref),
  },
  all: strict({ all: described('Every one holds; {"all": []} holds for everyone.', ref('wheres')) }, ['all']),
  any: strict({ any: described('At least one holds; {"any": []} holds for nobody.', ref('wheres')) }, ['any']),
  not: strict({ not: described('It does not hold.', ref('where')) }, ['not']),
  wheres: { type: 'array', maxItems: LIMITS.conditions, items: ref('where') },
  trait: strict(
    { trait: described('Path of a trait, such as address.city.', ref('path')), ...ALL_COMPARATORS },
    ['trait'],
    oneOf(Object.keys(ALL_COMPARATORS)),
  ),
  count: strict(
    {
      ...EVENT_HEAD,
      within: WINDOW,
      count: described('How often; default {"gte": 1}, and {"eq": 0} is "did not".', ref('numberComparators')),
    },
    ['event'],
  ),
  ...Object.fromEntries(AGGREGATES.map((name) => [name, aggregateSchema(name)])),
  first: recencySchema('first'),
  last: recencySchema('last'),
  recency: {
    description: '{"within": W}: less than W ago. {"before": W}: W ago or longer.',
    anyOf: [strict({ within: ref('duration') }, ['within']), strict({ before: ref('duration') }, ['before'])],
  },
  eventNames: {
    description: 'The name of a track call, or $page, $screen, $identify, $group, $alias; or a list of names.',
    anyOf: [ref('eventName'), { type: 'array', minItems: 1, maxItems: LIMITS.eventNames, items: ref('eventName') }],
  },
  eventName: { type: 'string', minLength: 1, maxLength: LIMITS.textCharacters },
  filter: {
    type: 'object',
    description: 'By path into the message, such as properties.total: a value, or comparators. All must hold.',
    maxProperties: LIMITS.filterPaths,
    propertyNames: ref('path'),
    additionalProperties: { anyOf: [ref('scalar'), ref('comparators')] },
  },
  comparators: { type: 'object', properties: ALL_COMPARATORS, additionalProperties: false, minProperties: 1 },
  numberComparators: { type: 'object', properties: COMPARATORS, additionalProperties: false, minProperties: 1 },
  path: {
    type: 'string',
    maxLength: LIMITS.textCharacters,
    pattern: `^[^.]+(\\.[^.]+){0,${LIMITS.pathComponents - 1}}$`,
    description: 'Names joined by dots. A path through a list reaches each of its elements; 0, 1, 2 … pick one.',
  },
  scalar: { anyOf: [ref('text'), { type: 'number' }, { type: 'boolean' }] },
  scalars: { type: 'array', maxItems: LIMITS.listItems, items: ref('scalar') },
  text: { type: 'string', maxLength: LIMITS.textCharacters },
  duration: {
    type: 'string',
    pattern: '^(?=.*[1-9])\\d{1,15}(\\.\\d{1,9})?(ms|s|m|h|d|w)$',
    description: 'A number and ms, s, m, h, d or w, such as "30d"; a whole number of milliseconds, up to ten years.',
  },
  date: { type: 'string', pattern: '^\\d{4}-\\d\\d-\\d\\d', description: 'An ISO 8601 date or instant; UTC where it has no zone.' },
}

export const SEGMENT_SCHEMA: Schema = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  title: 'Segment definition',
  description: 'What PUT /v1/segments/{id} takes. See docs/segments.md.',
  ...strict(
    {
      id: { type: 'string', maxLength: LIMITS.nameCharacters, description: 'In files of definitions; in the API it stands in the path.' },
      name: { type: 'string', maxLength: LIMITS.nameCharacters, description: 'For people.' },
      where: ref('where'),
    },
    ['where'],
  ),
  $defs: DEFS,
}
