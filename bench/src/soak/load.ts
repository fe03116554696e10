/**
 * The load of a soak: nodes that come and go, and peers that do everything a peer can do, each byte checked. It begins when it is
 * told to, and ends when it is stopped: it waits for its peers then.
 *
 * A peer sends a header: how the splice is to end, and how many bytes it carries. The node echoes the bytes.
 */
import * as CertDigest from "@tx3/protocol/CertDigest"
import * as Identity from "@tx3/protocol/Identity"
import * as Preamble from "@tx3/protocol/Preamble"
import * as Tls from "@tx3/protocol/Tls"
import * as Reset from "@tx3/sockets/Reset"
import * as Effect from "effect/Effect"
import { randomBytes } from "node:crypto"
import { connect, type Socket } from "node:net"
import * as tls from "node:tls"
import { nextSource, percentile, serve } from "../load/program.js"
import type { LoadRequest, Taken, Target } from "./messages.js"

/** How a splice ends: the peer first, the node first, or a reset by one of them in its middle. */
const endings = { peer: 1, node: 2, peerResets: 3, nodeResets: 4 } as const

const headerLength = 5

/** Longer than anything of the relay's has to take. */
const stuckMs = 90_000

const returnMs = 500

/** Peers after which all nodes drop their control streams at once. */
const peersPerStorm = 20_000

const handshakesAtATime = 4

/** What echoes carry: a window of it, so that a byte in a wrong place shows. */
const pattern = Buffer.alloc(2 ** 20 + 257, Uint8Array.from({ length: 251 }, (_, index) => index))

let target: Target
let stopping = false
let done: Record<string, number> = {}
let splices = 0
let unserved = 0
let wrong: Array<string> = []
let times: Array<number> = []

const isWrong = (problem: string) => {
  if (wrong.length < 100) {
    wrong.push(problem)
  }
}

const tcp = (first: Uint8Array): Socket => {
  const socket = connect({
    host: target.host,
    port: target.port,
    localAddress: nextSource(),
    noDelay: true,
    allowHalfOpen: true
  })
  socket.on("error", () => {})
  socket.write(first)
  return socket
}

/** The node's end of a splice. */
const serveSplice = (token: Uint8Array) => {
  const socket = tcp(token)
  let header: Buffer | undefined
  let left = 0
  socket.on("data", (chunk: Buffer) => {
    if (header === undefined) {
      if (chunk.length < headerLength) {
        // A header is one small segment, which nothing cuts.
        isWrong(`a header of ${chunk.length} bytes`)
        socket.resetAndDestroy()
        return
      }
      header = chunk.subarray(0, headerLength)
      left = header.readUInt32BE(1)
      chunk = chunk.subarray(headerLength)
      if (header[0] === endings.nodeResets) {
        left = left >> 1
      }
    }
    left -= chunk.length
    if (!socket.write(chunk)) {
      socket.pause()
      socket.once("drain", () => socket.resume())
    }
    if (left <= 0) {
      if (header[0] === endings.nodeResets) {
        socket.resetAndDestroy()
      } else if (header[0] === endings.node) {
        socket.end()
      }
    }
  })
  socket.on("end", () => socket.end())
}

/** A node: registers, serves, and comes back when its control stream ends. */
class Node {
  private control: tls.TLSSocket | undefined
  private timer: NodeJS.Timeout | undefined

  constructor(readonly digest: Buffer, private readonly context: tls.SecureContext) {}

  register(onLive: () => void = () => {}) {
    const socket = tcp(Buffer.from(target.relay, "base64"))
    const control = this.control = tls.connect({ socket, ...Tls.clientOptions(this.context) })
    let rest: Buffer = Buffer.alloc(0)
    let isLive = false
    control.on("error", () => {})
    control.on("close", () => {
      socket.destroy()
      if (!stopping) {
        this.timer = setTimeout(() => this.register(onLive), returnMs * (0.5 + Math.random()))
      }
    })
    control.on("data", (chunk: Buffer) => {
      rest = Buffer.concat([rest, chunk])
      if (!isLive) {
        isLive = true
        rest = rest.subarray(Preamble.allClear.length)
        onLive()
      }
      for (; rest.length >= Preamble.length; rest = rest.subarray(Preamble.length)) {
        serveSplice(rest.subarray(0, Preamble.length))
      }
    })
  }

  drop() {
    this.control?.destroy()
  }

  end() {
    clearTimeout(this.timer)
    this.drop()
  }
}

let nodes: ReadonlyArray<Node> = []

const below = (most: number) => Math.floor(Math.random() * most)
const someNode = () => nodes[below(nodes.length)]!

/** A splice, and how its peer finds it ended. `slowMs`: the peer does not read for so long. */
const splice = (ending: keyof typeof endings, bytes: number, slowMs = 0) =>
  new Promise<void>((resolve) => {
    const startedAt = performance.now()
    const from = below(251)
    const sent = pattern.subarray(from, from + bytes)
    const header = Buffer.alloc(headerLength)
    header[0] = endings[ending]
    header.writeUInt32BE(bytes, 1)
    const socket = tcp(someNode().digest)
    socket.write(header)
    socket.write(sent)
    let received = 0
    let ended = false
    const timer = setTimeout(() => {
      isWrong(`${ending}: ${received} of ${bytes} bytes and no end after ${stuckMs} ms`)
      socket.destroy()
    }, stuckMs)
    if (slowMs > 0) {
      socket.pause()
      setTimeout(() => socket.resume(), slowMs)
    }
    socket.on("data", (chunk: Buffer) => {
      if (received === 0) {
        splices++
        if (slowMs === 0) {
          times.push(performance.now() - startedAt)
        }
      }
      if (!chunk.equals(sent.subarray(received, received + chunk.length))) {
        isWrong(`${ending}: other bytes than were sent, at ${received} of ${bytes}`)
        socket.destroy()
      }
      received += chunk.length
      if (ending === "peerResets" && received >= bytes >> 1) {
        socket.resetAndDestroy()
      } else if (ending === "peer" && received === bytes) {
        socket.end()
      }
    })
    socket.on("end", () => {
      // Node reports a reset behind unread bytes as an end.
      const behind = Reset.behindEnd(socket)
      received += behind.bytes.length
      ended = !behind.isReset
      socket.end()
    })
    socket.on("close", () => {
      clearTimeout(timer)
      const whole = received === bytes
      if (ended && received > 0 && (!whole || ending === "nodeResets")) {
        isWrong(`${ending}: a clean end after ${received} of ${bytes} bytes`)
      } else if (ending === "peerResets" || ending === "nodeResets" ? received > 0 : ended && whole) {
        done[ending] = (done[ending] ?? 0) + 1
      } else {
        unserved++
      }
      resolve()
    })
  })

/** A connection that comes to nothing: it sends this, and ends or resets after a while, if the relay has not. */
const stray = (name: string, first: Uint8Array, afterMs: number) =>
  new Promise<void>((resolve) => {
    const socket = tcp(first)
    const timer = setTimeout(() => Math.random() < 0.5 ? socket.end() : socket.resetAndDestroy(), afterMs)
    const stuck = setTimeout(() => {
      isWrong(`${name}: still open after ${stuckMs} ms`)
      socket.destroy()
    }, stuckMs)
    socket.on("end", () => socket.end()).resume()
    socket.on("close", () => {
      clearTimeout(timer)
      clearTimeout(stuck)
      done[name] = (done[name] ?? 0) + 1
      resolve()
    })
  })

/** Of a hundred peers, how many do what. */
const scenarios: ReadonlyArray<readonly [of100: number, run: () => Promise<void>]> = [
  [60, () => splice("peer", 1 + below(2048))],
  [12, () => splice("node", 1 + below(2048))],
  [6, () => splice("peerResets", 2 + below(2048))],
  [6, () => splice("nodeResets", 2 + below(2048))],
  [1, () => splice("peer", 2 ** 18 + below(2 ** 19))],
  [1, () => splice("peer", 2 ** 18 + below(2 ** 19), 2_000)],
  [5, () => stray("hungUpWaiting", someNode().digest, below(3))],
  [3, () => stray("unknownPreamble", randomBytes(Preamble.length), 1_000)],
  [2, () => stray("partOfPreamble", randomBytes(below(Preamble.length)), below(300))],
  [2, () => stray("silent", Buffer.alloc(0), below(300))],
  [2, () => stray("garbage", Buffer.concat([Buffer.from(target.relay, "base64"), randomBytes(300)]), 1_000)]
]

let served = 0

const peer = async () => {
  while (!stopping) {
    if (++served % peersPerStorm === 0) {
      nodes.forEach((node) => node.drop())
    }
    let ticket = below(100)
    const [, run] = scenarios.find(([of100]) => (ticket -= of100) < 0)!
    await run()
  }
}

let peers: Promise<unknown> = Promise.resolve()

const start = async () => {
  nodes = await Promise.all(Array.from({ length: target.nodes }, async () => {
    const identity = await Effect.runPromise(Identity.generate)
    return new Node(Buffer.from(CertDigest.toBytes(identity.digest)), Tls.secureContext(identity))
  }))
  for (let first = 0; first < nodes.length; first += handshakesAtATime) {
    await Promise.all(
      nodes.slice(first, first + handshakesAtATime).map((node) => new Promise<void>((live) => node.register(live)))
    )
  }
  peers = Promise.all(Array.from({ length: target.peers }, peer))
}

const take = (): Taken => {
  const values = Float64Array.from(times)
  const taken = { done, splices, unserved, wrong, p50: percentile(values, 0.5), p99: percentile(values, 0.99) }
  done = {}
  splices = 0
  unserved = 0
  wrong = []
  times = []
  return taken
}

serve(async (request: LoadRequest) => {
  switch (request.type) {
    case "start": {
      target = request
      return start()
    }
    case "take":
      return take()
    case "stop": {
      stopping = true
      await peers
      nodes.forEach((node) => node.end())
      return take()
    }
  }
})
