// Reads server-sent events, as far as this server sends them: `id`, `data`, comments. An id may come alone: it says where the
// stream begins.

export interface StreamedEvent {
  readonly id: string
  /** Empty where an id came alone. */
  readonly data: string
}

/** Beyond this without an end of line, it is no event stream. */
const MAX_LINE_CHARACTERS = 1024 * 1024

export async function* readEventStream(body: AsyncIterable<Uint8Array>): AsyncGenerator<StreamedEvent> {
  const decoder = new TextDecoder()
  let rest = ''
  let id = ''
  let isNew = false
  let data: string[] = []
  for await (const chunk of body) {
    rest += decoder.decode(chunk, { stream: true })
    const lines = rest.split('\n')
    rest = lines.pop() ?? ''
    if (rest.length > MAX_LINE_CHARACTERS) throw new Error('a line of the stream does not end')
    for (const raw of lines) {
      const line = raw.endsWith('\r') ? raw.slice(0, -1) : raw
      if (line === '') {
        if (data.length > 0 || isNew) yield { id, data: data.join('\n') }
        data = []
        isNew = false
      } else if (line.startsWith('id:')) {
        id = line.slice(3).trimStart()
        isNew = true
      } else if (line.startsWith('data:')) data.push(line.slice(5).replace(/^ /, ''))
    }
  }
}
