// What the demo says at the end: figures read from the API, and what to try next.
import type { Client } from '../../src/cli/client.ts'
import type { ShownTransition } from '../../src/cli/follow.ts'
import { segmentTable } from '../../src/cli/status.ts'
import { grouped, type Paint, table } from '../../src/cli/terminal.ts'
import type { EngineStatus, MergeRecord, Page, ProfileView, SegmentView } from '../../src/engine/engine.ts'

/** All items of a list, page by page. */
async function* itemsOf<T>(client: Client, path: string): AsyncGenerator<T> {
  for (let after: string | undefined = ''; after !== undefined; ) {
    const page: Page<T> = await client.json(`${path}?limit=1000${after === '' ? '' : `&after=${encodeURIComponent(after)}`}`)
    yield* page.items
    after = page.next
  }
}

export async function summaryText(client: Client, orders: number, paint: Paint): Promise<string> {
  const { profiles, now } = await client.json<EngineStatus>('/v1/status')
  const { items: segments } = await client.json<Page<SegmentView>>('/v1/segments')
  const counts = new Map<string, { entered: number; exited: number }>()
  let transitions = 0
  for await (const t of itemsOf<ShownTransition>(client, '/v1/transitions')) {
    const count = counts.get(t.cause) ?? { entered: 0, exited: 0 }
    count[t.transition]++
    counts.set(t.cause, count)
    transitions++
  }
  let merges = 0
  for await (const _ of itemsOf<MergeRecord>(client, '/v1/merges')) merges++
  const causes = [...counts].map(([cause, n]) => [`  ${cause}`, grouped(n.entered), grouped(n.exited)])
  return `
${paint('bold', 'Summary')}, as of ${now}
  ${grouped(orders)} orders and refunds · ${grouped(profiles)} profiles · ${merges} ${merges === 1 ? 'merge' : 'merges'} · ${grouped(transitions)} transitions

${table([[paint('dim', '  cause'), paint('dim', 'entries'), paint('dim', 'exits')], ...causes], [1, 2])}
${segmentTable(segments, paint)}`
}

export async function nextText(client: Client, paint: Paint): Promise<string> {
  const { url } = client
  const { items } = await client.json<Page<{ profile: string; userId?: string }>>('/v1/segments/vips/members?limit=100')
  const customer = items.find((m) => m.userId !== undefined)?.userId ?? 'c-14911'
  const rows = [
    ['a customer, with segments', `curl -s ${url}/v1/profiles/user_id:${customer}`],
    ['what she did', `curl -s '${url}/v1/profiles/user_id:${customer}/events?limit=3'`],
    ['the members of a segment', `curl -s '${url}/v1/segments/lost-vips/members?limit=5'`],
    ['who left because time passed', `npm run -s tributary -- tail --url ${url} --after - --exited --cause timer`],
    ['partitions and segments', `npm run -s tributary -- status --url ${url}`],
    ['follow, in a second terminal', `curl -sN -H 'accept: text/event-stream' ${url}/v1/transitions`],
    ['… and let a month pass', `curl -s ${url}/v1/admin/clock -d '{"now":"2011-08-01T00:00:00Z"}'`],
    ['… and let a guest sign in', `curl -s ${url}/v1/identify -d '{"anonymousId":"guest-558614","userId":"${customer}"}'`],
  ]
  return `
${paint('bold', 'Try next')} (the server runs until Ctrl-C)
${table(rows.map(([what = '', how = '']) => [`  ${paint('dim', what)}`, how]))}
  ${paint('dim', 'metrics')} ${url}/metrics · ${paint('dim', 'API')} ${url}/openapi.json
`
}

/** Before and after a log-in: one line each. */
export function profileLine(label: string, p: ProfileView, paint: Paint): string {
  const names = p.identifiers.map((i) => i.value).join(', ')
  return `  ${label.padEnd(9)} ${paint('dim', p.id)}  ${names}  [${p.segments.join(', ')}]\n`
}
