// A js-libp2p node, driven over stdin and stdout by tests/interop: one JSON document a line each way.
//
//   node node.js TOPIC [MULTIADDR]    listens on loopback; dials MULTIADDR if there is one
//
// out: {"ready": [addrs]}, {"connected": peer}, {"subscribed": peer}, {"message": base64, "from": peer}, {"error": text}
// in:  {"dial": addr} -> {"dialed": peer}   {"ping": peer} -> {"ping_ms": n}   {"identify": peer} -> {...}
//      {"publish": base64} -> {"published": recipients}

if (Promise.withResolvers === undefined) { // Node 20 lacks it
  Promise.withResolvers = function () {
    let resolve, reject
    const promise = new this((a, b) => { resolve = a; reject = b })
    return { promise, resolve, reject }
  }
}

const { createLibp2p } = await import('libp2p')
const { tcp } = await import('@libp2p/tcp')
const { noise } = await import('@libp2p/noise')
const { yamux } = await import('@libp2p/yamux')
const { identify } = await import('@libp2p/identify')
const { ping } = await import('@libp2p/ping')
const { gossipsub } = await import('@libp2p/gossipsub')
const { multiaddr } = await import('@multiformats/multiaddr')
const { createInterface } = await import('node:readline')

const topic = process.argv[2]
const say = (document) => process.stdout.write(JSON.stringify(document) + '\n')

const node = await createLibp2p({
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  services: {
    identify: identify(),
    ping: ping(),
    pubsub: gossipsub({ globalSignaturePolicy: 'StrictSign', emitSelf: false })
  }
})

const identified = new Map()
node.addEventListener('peer:connect', ({ detail }) => say({ connected: detail.toString() }))
node.addEventListener('peer:identify', ({ detail }) => {
  identified.set(detail.peerId.toString(), {
    agent: detail.agentVersion,
    protocols: detail.protocols,
    addrs: detail.listenAddrs.map(String)
  })
  say({ identified: detail.peerId.toString() })
})
node.services.pubsub.addEventListener('subscription-change', ({ detail }) => {
  for (const change of detail.subscriptions) {
    if (change.topic === topic && change.subscribe) say({ subscribed: detail.peerId.toString() })
  }
})
// Only what passed gossipsub's validation arrives here: StrictSign messages with a good signature.
node.services.pubsub.addEventListener('message', ({ detail }) => {
  if (detail.topic !== topic) return
  say({ message: Buffer.from(detail.data).toString('base64'), from: detail.from.toString(), type: detail.type })
})
node.services.pubsub.subscribe(topic)
say({ ready: node.getMultiaddrs().map(String), peer: node.peerId.toString() })

const peerOf = (text) => node.getPeers().find((peer) => peer.toString() === text)
const commands = {
  async dial (addr) {
    const connection = await node.dial(multiaddr(addr), { signal: AbortSignal.timeout(10000) })
    return { dialed: connection.remotePeer.toString() }
  },
  async ping (peer) {
    return { ping_ms: await node.services.ping.ping(peerOf(peer), { signal: AbortSignal.timeout(10000) }) }
  },
  async identify (peer) {
    return { identify: identified.get(peer) ?? null }
  },
  async publish (data) {
    const result = await node.services.pubsub.publish(topic, Buffer.from(data, 'base64'))
    return { published: result.recipients.length }
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const [[name, argument]] = Object.entries(JSON.parse(line))
  try {
    say(await commands[name](argument))
  } catch (error) {
    say({ error: `${name}: ${error.message}` })
  }
}
await node.stop()
process.exit(0)
