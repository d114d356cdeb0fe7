// A shop that tells Kafka of its orders: makes the topic and appends some, among them one that nobody can read.
//
//   node examples/kafka-source/produce.ts --brokers 127.0.0.1:19092 --topic shop.orders --orders 1000
import { parseArgs } from 'node:util'
import kafkajs from 'kafkajs'

const { values } = parseArgs({
  options: {
    brokers: { type: 'string', default: '127.0.0.1:19092' },
    topic: { type: 'string', default: 'shop.orders' },
    orders: { type: 'string', default: '1000' },
  },
})
const { topic } = values
const kafka = new kafkajs.Kafka({ brokers: values.brokers.split(','), clientId: 'shop', logLevel: kafkajs.logLevel.ERROR })

const admin = kafka.admin()
await admin.connect()
await admin.createTopics({ topics: [{ topic, numPartitions: 4 }], waitForLeaders: true })
await admin.disconnect()

const customers = 100
const orders = Array.from({ length: Number(values.orders) }, (_, n) => {
  const customer = { id: `c${n % customers}`, email: `c${n % customers}@example.com` }
  const order = { order: `o${n}`, customer, total: (n % 20) * 10, placed_at: new Date().toISOString() }
  return { key: customer.id, value: JSON.stringify(order) }
})

const producer = kafka.producer({ createPartitioner: kafkajs.Partitioners.DefaultPartitioner })
await producer.connect()
await producer.send({ topic, messages: [...orders, { key: 'c0', value: 'this is no JSON' }] })
await producer.disconnect()
console.log(`${orders.length} orders of ${customers} customers are in ${topic}`)
