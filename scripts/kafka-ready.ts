// Asks a broker for its metadata in the plainest way: bytes on a socket, so that nothing but Node is needed to start one.
import { connect } from 'node:net'

const METADATA = { key: 3, version: 6 }
/** Reply: size, correlation, throttle time, then the number of brokers. */
const BROKERS_AT = 12
const PATIENCE_MS = 1000

/** True when the broker on this port of loopback lists at least one broker: itself. */
export function isReady(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' })
    let reply = Buffer.alloc(0)
    const end = (ready: boolean): void => {
      socket.destroy()
      resolve(ready)
    }
    socket.setTimeout(PATIENCE_MS, () => end(false))
    socket.on('error', () => end(false))
    socket.on('close', () => end(false))
    socket.on('connect', () => socket.write(metadataRequest()))
    socket.on('data', (chunk) => {
      reply = Buffer.concat([reply, chunk])
      if (reply.length >= BROKERS_AT + 4) end(reply.readInt32BE(BROKERS_AT) > 0)
    })
  })
}

function metadataRequest(): Buffer {
  const request = Buffer.alloc(19)
  request.writeInt32BE(request.length - 4, 0)
  request.writeInt16BE(METADATA.key, 4)
  request.writeInt16BE(METADATA.version, 6)
  request.writeInt32BE(1, 8) // correlation
  // What follows is zero: an empty client id, no topics, none to be created.
  return request
}
