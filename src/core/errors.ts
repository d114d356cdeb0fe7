// The one registry of error codes (docs/errors.md lists the same; a test compares them).
// Three outcomes, by what happens next (DESIGN section 11): the input is dead-lettered, the caller retries later,
// or a partition stops. `status` is the HTTP status where the API answers with the code.

export const ERRORS = {
  // input: dead-lettered, or answered 4xx
  unreadable: { status: 400, hint: 'Send JSON: one message, or {"batch":[…]}.' },
  invalid_message: { status: 400, hint: 'A message is a JSON object with a type: track, identify, page, screen, group or alias.' },
  invalid_event_name: { status: 400, hint: 'A track call needs a non-empty text as event.' },
  invalid_timestamp: { status: 400, hint: 'Timestamps are ISO 8601 texts, such as 2026-05-03T10:11:12.345Z.' },
  no_identifier: {
    status: 400,
    hint: 'Send userId, anonymousId, traits.email, traits.phone or context.externalIds; blocked values such as "null" do not count.',
  },
  too_many_identifiers: { status: 400, hint: 'A message may carry 20 identifiers, those in context.externalIds included.' },
  future_event: { status: 400, hint: 'The timestamp lies further ahead than futureLimit; check the client clock.' },
  too_large: { status: 413, hint: 'Bodies may hold 4 MiB, also after inflating; a single message 256 KiB.' },
  too_many_future_events: { status: 400, hint: 'The profile already waits for too many events dated in the future.' },
  execution_failed: { status: 500, hint: 'Applying this event failed; it was set aside. Report it with the message.' },
  // callers
  invalid_request: { status: 400, hint: 'See /openapi.json for what this call takes.' },
  invalid_definition: { status: 400, hint: 'See docs/segments.md for the grammar.' },
  invalid_config: { status: 400, hint: 'See docs/configuration.md for the options.' },
  unauthorized: { status: 401, hint: 'Send the key as Basic user name, as Bearer token, or (ingestion only) as writeKey in the body.' },
  forbidden: { status: 403, hint: 'This key may not make this call; use a key with the right role.' },
  not_found: { status: 404, hint: 'Nothing is known under this name.' },
  clock_not_manual: { status: 409, hint: 'Start with --clock manual to move time by hand.' },
  clock_backwards: { status: 409, hint: 'The manual clock only moves forward.' },
  unsupported_media: { status: 415, hint: 'Send JSON.' },
  // later
  back_pressure: { status: 429, hint: 'The engine is behind; retry after the time given.' },
  disk_full: { status: 429, hint: 'Free disk space falls below minFreeBytes; make room.' },
  shutting_down: { status: 503, hint: 'The server is stopping; retry against its successor.' },
  position_timeout: { status: 503, hint: 'The write was not applied within the time limit; retry the read.' },
  partition_stopped: { status: 503, hint: 'A partition has stopped; /v1/status and the log say why.' },
  fenced: { status: 503, hint: 'Another process has taken the partition over; retry, it answers now.' },
  journal_cut: { status: 503, hint: 'The journal no longer has what was to be read next; the partition is built anew from what it has.' },
  partition_moving: { status: 503, hint: 'A partition is on its way from one process to another; retry.' },
  not_ready: { status: 503, hint: 'The engine is still starting.' },
  internal: { status: 500, hint: 'This is a fault of the server; see its log.' },
  // start-up and operation
  fingerprint_mismatch: {
    status: 500,
    hint: 'Partitions, namespace priorities and key encoding are fixed for the life of the data: restore the old setting or use a fresh dataDir.',
  },
  deployment_mismatch: {
    status: 500,
    hint: 'All processes of a deployment on Kafka have the same settings: give this one those of the others, or another kafka.prefix.',
  },
  data_locked: { status: 500, hint: 'Another process uses this dataDir.' },
  data_corrupt: { status: 500, hint: 'A record that was known to be durable is damaged; restore from a copy.' },
  unclean_without_fsync: {
    status: 500,
    hint: 'This data was written with durability none and the machine stopped; it cannot be trusted. Use a fresh dataDir.',
  },
  log_failed: { status: 500, hint: 'A write or fsync failed; the process stops without a second attempt. Check the disk.' },
  store_failed: { status: 500, hint: 'The store reported an error; check the disk.' },
  kafka_unreachable: {
    status: 500,
    hint: 'No broker answered: check the addresses and the network, and whether that listener wants TLS or a login.',
  },
  kafka_tls: {
    status: 500,
    hint: 'The TLS connection was refused: check that the listener speaks TLS, tls.authority, and the name in the broker certificate.',
  },
  kafka_login: { status: 500, hint: 'The brokers refused the login: check sasl.mechanism, sasl.username and sasl.password.' },
  kafka_forbidden: { status: 500, hint: 'The account lacks a right; docs/kafka.md lists the rights that are needed.' },
  kafka_topic: { status: 500, hint: 'The topic is missing or set up otherwise than needed; docs/kafka.md lists the settings.' },
  kafka_failed: { status: 500, hint: 'The cluster answered with an error; see its log.' },
  kafka_client: {
    status: 500,
    hint: 'The Kafka client is not the version that this was built on; install exactly what package-lock.json says.',
  },
  registry_failed: {
    status: 500,
    hint: 'The schema registry did not answer, or refused: check schemaRegistry.url, its login and the network.',
  },
  append_in_doubt: {
    status: 500,
    hint: 'It is not known whether the record is in the log: read it back before anything else is appended.',
  },
  unsupported_platform: { status: 500, hint: 'Tributary runs on Linux x64 and arm64 with glibc.' },
  open_beyond_loopback: { status: 500, hint: 'Configure keys, or listen on 127.0.0.1.' },
  cannot_listen: { status: 500, hint: 'Choose another --port; --port 0 takes any free one.' },
  cannot_connect: { status: 500, hint: 'Start the server with `npm start`, or say where it runs with --url.' },
} as const

export type ErrorCode = keyof typeof ERRORS

export class TributaryError extends Error {
  override readonly name = 'TributaryError'
  readonly code: ErrorCode
  readonly detail: string | undefined
  constructor(code: ErrorCode, message: string, options: { detail?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? {} : { cause: options.cause })
    this.code = code
    this.detail = options.detail
  }
  get status(): number {
    return ERRORS[this.code].status
  }
  get hint(): string {
    return ERRORS[this.code].hint
  }
  /** The body of an API error. */
  toJSON(): { code: ErrorCode; message: string; detail?: string; hint: string } {
    return { code: this.code, message: this.message, ...(this.detail === undefined ? {} : { detail: this.detail }), hint: this.hint }
  }
}
