// From the bytes of a request to JSON. The content type and the declared encoding are hints that clients get wrong
// (browsers send JSON as text/plain, others send gzip undeclared), so what the bytes look like decides.
import { promisify } from 'node:util'
import * as zlib from 'node:zlib'
import { TributaryError } from '../core/errors.ts'
import type { Json, JsonObject } from '../core/event.ts'
import { INFLATE_IN_PLACE_BYTES, MAX_BODY_BYTES, OFF_THREAD_BYTES } from './limits.ts'

type Packing = 'gzip' | 'deflate' | 'br'

const IN_PLACE = { gzip: zlib.gunzipSync, deflate: zlib.inflateSync, br: zlib.brotliDecompressSync }
const ON_THREADS = { gzip: promisify(zlib.gunzip), deflate: promisify(zlib.inflate), br: promisify(zlib.brotliDecompress) }

function packingOf(raw: Buffer, declared: string | undefined): Packing | undefined {
  if (raw.length > 2 && raw[0] === 0x1f && raw[1] === 0x8b) return 'gzip'
  if (declared === undefined) return undefined
  const first = raw[0]
  // Declared, but plain JSON all the same.
  if (first === 0x7b || first === 0x5b) return undefined
  const encoding = declared.trim().toLowerCase()
  return encoding === 'br' || encoding === 'deflate' ? encoding : undefined
}

/** The plain bytes of a body. Throws too_large or unreadable. */
export function inflate(raw: Buffer, declared: string | undefined): Buffer | Promise<Buffer> {
  if (raw.length > MAX_BODY_BYTES) throw tooLarge()
  const packing = packingOf(raw, declared)
  if (packing === undefined) return raw
  if (raw.length <= INFLATE_IN_PLACE_BYTES) {
    try {
      return IN_PLACE[packing](raw, { maxOutputLength: OFF_THREAD_BYTES })
    } catch (cause) {
      if (!isOutOfRoom(cause)) throw damaged(cause)
    }
  }
  // Inflating stops at the limit: a small body that would grow without end costs no more than an honest one.
  return ON_THREADS[packing](raw, { maxOutputLength: MAX_BODY_BYTES }).catch((cause: unknown) =>
    Promise.reject(isOutOfRoom(cause) ? tooLarge() : damaged(cause)),
  )
}

function isOutOfRoom(cause: unknown): boolean {
  return cause instanceof Error && 'code' in cause && cause.code === 'ERR_BUFFER_TOO_LARGE'
}

function damaged(cause: unknown): TributaryError {
  return new TributaryError('unreadable', 'The body is compressed and damaged.', { cause })
}
function tooLarge(): TributaryError {
  return new TributaryError('too_large', `The body holds more than ${MAX_BODY_BYTES} bytes.`)
}

/** The JSON in an inflated body: plain, form-encoded or base64. Throws unreadable. */
export function parseBody(bytes: Buffer): Json {
  let text = bytes.toString('utf8')
  const first = text.charCodeAt(0)
  if (first !== 0x7b && first !== 0x5b) {
    text = text.replace(/^\uFEFF/, '').trim()
    if (text === '') throw new TributaryError('unreadable', 'The body is empty.')
    if (text[0] !== '{' && text[0] !== '[') return parseWrapped(text)
  }
  return parseJson(text)
}

function parseJson(text: string): Json {
  try {
    return JSON.parse(text) as Json
  } catch (cause) {
    throw new TributaryError('unreadable', 'The body is not valid JSON.', {
      detail: cause instanceof Error ? cause.message.slice(0, 200) : '',
      cause,
    })
  }
}

const BASE64 = /^[A-Za-z0-9+/_-]+={0,2}$/
const FORM = /^[A-Za-z0-9_.[\]%-]+=/

function parseWrapped(text: string): Json {
  if (BASE64.test(text)) {
    const decoded = Buffer.from(text, 'base64').toString('utf8')
    if (decoded.startsWith('{') || decoded.startsWith('[')) return parseJson(decoded)
  }
  if (/^%(7b|5b)/i.test(text)) return parseJson(new URLSearchParams(`data=${text}`).get('data') ?? '')
  if (FORM.test(text)) return parseForm(new URLSearchParams(text))
  throw new TributaryError('unreadable', 'The body is not JSON.')
}

function parseForm(form: URLSearchParams): Json {
  const wrapped = form.get('data') ?? form.get('payload') ?? form.get('json')
  if (wrapped !== null) {
    // In a form, `+` means a space, but base64 is often sent unescaped.
    const text = wrapped.trim()
    return text.startsWith('{') || text.startsWith('[')
      ? parseJson(text)
      : parseJson(Buffer.from(text.replaceAll(' ', '+'), 'base64').toString('utf8'))
  }
  const message: JsonObject = {}
  for (const [name, value] of form) {
    if (name === '__proto__') continue
    message[name] = value.startsWith('{') || value.startsWith('[') ? parseJson(value) : value
  }
  return message
}
