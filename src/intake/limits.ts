// The limits of intake, in one place. A body that breaks one is refused whole; a message that breaks one is rejected alone.

/** Of a body, on the wire and again after inflating. */
export const MAX_BODY_BYTES = 4 * 1024 * 1024
/** Of one message, as normalised JSON. */
export const MAX_MESSAGE_BYTES = 256 * 1024
/** Messages of one body: as many as fit when each is as small as a valid one can be. */
export const MAX_BATCH_MESSAGES = 65_536
export const MAX_IDENTIFIERS = 20
export const MAX_NAMESPACE_CHARACTERS = 64
export const MAX_NAME_CHARACTERS = 512
export const MAX_MESSAGE_ID_CHARACTERS = 512
/** Objects and lists inside one another; deeper ones would exhaust the stack of whoever walks them. */
export const MAX_DEPTH = 64
/** How much of an unreadable or oversized input is kept in its dead letter. */
export const MAX_KEPT_CHARACTERS = 8 * 1024
/** Bodies above this, once inflated, are parsed and mapped off the main thread. */
export const OFF_THREAD_BYTES = 256 * 1024
/** Compressed bodies up to this inflate in place, unless they grow beyond OFF_THREAD_BYTES; others on zlib's threads. */
export const INFLATE_IN_PLACE_BYTES = 16 * 1024
