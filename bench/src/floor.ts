/**
 * The floor: a relay as plain node programs go, to measure ours against. It speaks the protocol and does nothing else: no
 * limits, no timeouts, no logs. It runs until it is killed.
 */
import * as CertDigest from "@tx3/protocol/CertDigest"
import * as Identity from "@tx3/protocol/Identity"
import * as Preamble from "@tx3/protocol/Preamble"
import * as Tls from "@tx3/protocol/Tls"
import * as Effect from "effect/Effect"
import { randomBytes } from "node:crypto"
import { type AddressInfo, createServer, type Socket } from "node:net"
import { TLSSocket } from "node:tls"

const identity = await Effect.runPromise(Identity.generate)
const context = Tls.secureContext(identity)

/** 32 bytes as a key of a map: latin1 is the cheapest text that keeps every byte. */
const keyOf = (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1")

const ownKey = keyOf(CertDigest.toBytes(identity.digest))
const controls = new Map<string, TLSSocket>()
const waiting = new Map<string, Socket>()

const control = (socket: Socket) => {
  const stream = new TLSSocket(socket, Tls.serverOptions(context))
  stream.on("error", () => stream.destroy())
  stream.once("secure", () => {
    const digest = Tls.peerDigest(stream)
    if (digest._tag === "None") {
      stream.destroy()
      return
    }
    const key = keyOf(CertDigest.toBytes(digest.value))
    controls.set(key, stream)
    stream.once("close", () => {
      if (controls.get(key) === stream) {
        controls.delete(key)
      }
    })
    stream.resume()
    stream.write(Preamble.allClear)
  })
}

const wait = (peer: Socket, node: TLSSocket) => {
  const token = randomBytes(Preamble.length)
  const key = keyOf(token)
  waiting.set(key, peer)
  peer.once("close", () => waiting.delete(key))
  node.write(token)
}

const splice = (left: Socket, right: Socket) => {
  left.allowHalfOpen = true
  right.allowHalfOpen = true
  left.once("close", (failed) => failed && right.destroy())
  right.once("close", (failed) => failed && left.destroy())
  left.pipe(right)
  right.pipe(left)
}

const route = (socket: Socket, key: string) => {
  const peer = waiting.get(key)
  const node = controls.get(key)
  if (peer !== undefined) {
    waiting.delete(key)
    splice(peer, socket)
  } else if (node !== undefined) {
    wait(socket, node)
  } else if (key === ownKey) {
    control(socket)
  } else {
    socket.destroy()
  }
}

const server = createServer({ keepAlive: true, keepAliveInitialDelay: 7000, noDelay: true }, (socket) => {
  socket.on("error", () => socket.destroy())
  const read = () => {
    const preamble: Buffer | null = socket.read(Preamble.length)
    if (preamble !== null) {
      socket.off("readable", read)
      route(socket, keyOf(preamble))
    }
  }
  socket.on("readable", read)
})

server.listen({ host: "127.0.0.1", port: 0, backlog: 4096 }, () => {
  process.stdout.write([
    "# tx3-relay listening #",
    "# tx3-relay address list start #",
    `tx3-rst://127.0.0.1:${(server.address() as AddressInfo).port}/${identity.digest}`,
    "# tx3-relay address list end #",
    ""
  ].join("\n"))
})
