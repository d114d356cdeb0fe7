// `npm run kafka:local [-- start|stop|status] [--port N] [--dir DIR] [--secured]`: a real Kafka broker on loopback.
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { findBroker, KAFKA_CACHE, startBroker, stopBroker } from './kafka-broker.ts'

const DEFAULT_PORT = '19092'
const say = (line: string): void => console.log(line)

async function run(): Promise<number> {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: {
      port: { type: 'string', default: DEFAULT_PORT },
      dir: { type: 'string', default: join(KAFKA_CACHE, 'local') },
      secured: { type: 'boolean', default: false },
    },
  })
  const directory = resolve(values.dir)
  const [command = 'start'] = positionals
  if (command === 'start') {
    const options = {
      directory,
      jars: join(KAFKA_CACHE, 'libs'),
      port: Number(values.port),
      isSecured: values.secured,
      staysBehind: true,
      say,
    }
    const broker = await startBroker(options)
    say(`Kafka listens on ${broker.brokers} (process ${broker.pid}, in ${directory})`)
    if (broker.secured)
      say(`with SASL on ${broker.secured.sasl}, with TLS on ${broker.secured.tls} (authority: ${broker.secured.authority})`)
    return 0
  }
  if (command === 'stop') {
    say((await stopBroker(directory)) ? 'stopped' : 'not running')
    return 0
  }
  if (command === 'status') {
    const broker = await findBroker(directory)
    say(broker ? `running on ${broker.brokers} (process ${broker.pid})` : 'not running')
    return broker ? 0 : 1
  }
  say(`unknown: ${command}; try start, stop or status`)
  return 2
}

process.exitCode = await run().catch((error: Error) => {
  console.error(error.message)
  return 1
})
