/**
 * The far ends of a benchmark: a program that is a tx3 node, which dials back for each token, or the backend of a plain
 * proxy, which accepts. Either way it gets raw connections through the subject and answers in them. It is written to
 * cost little: buffers are made once, and nothing is allocated for what passes through a connection.
 */
import * as CertDigest from "@tx3/protocol/CertDigest"
import * as Identity from "@tx3/protocol/Identity"
import * as Preamble from "@tx3/protocol/Preamble"
import * as Tls from "@tx3/protocol/Tls"
import * as Effect from "effect/Effect"
import { connect, createServer, Socket, type SocketConstructorOpts, type TcpSocketConnectOpts } from "node:net"
import * as tls from "node:tls"
import * as messages from "./messages.js"
import { nextSource, paced, patienceMs, serve, times } from "./program.js"

type OnRead = NonNullable<TcpSocketConnectOpts["onread"]>

const readBuffer = Buffer.allocUnsafe(256 * 1024)
const answer = Buffer.alloc(1)
const message = Buffer.alloc(messages.messageLength, "tx3")

let receivedBytes = 0

/** Behaves as the first byte says, over the socket that `make` makes. */
const farEnd = (make: (onread: OnRead) => Socket) => {
  let kind = 0
  let unanswered = 0
  const socket = make({
    buffer: readBuffer,
    callback: (count) => {
      let bytes = count
      if (kind === 0) {
        kind = readBuffer[0]!
        bytes--
        socket.write(answer)
      }
      if (kind === messages.kindBytes.sink) {
        receivedBytes += bytes
      } else {
        unanswered += bytes
        while (unanswered >= messages.messageLength) {
          unanswered -= messages.messageLength
          socket.write(message)
        }
      }
      return true
    }
  })
  socket.on("error", () => {})
  return socket
}

const listen = () =>
  new Promise<messages.Listening>((resolve, reject) => {
    const server = createServer({ noDelay: true, pauseOnConnect: true }, (accepted) => {
      // Node lets only those who connect bring their own read buffer, so the accepted handle moves to a socket that has one.
      const from = accepted as unknown as { _handle: unknown }
      const handle = from._handle
      from._handle = null
      farEnd((onread) => new Socket({ handle, onread } as SocketConstructorOpts))
    })
    server.once("error", reject)
    server.listen({ host: "127.0.0.1", port: 0, backlog: 4096 }, () => {
      resolve({ port: (server.address() as { port: number }).port })
    })
  })

const contextOf = (identity: Identity.Identity) => ({ digest: identity.digest, context: Tls.secureContext(identity) })

const newIdentity = async () => contextOf(await Effect.runPromise(Identity.generate))

/** Opens a control stream and waits for the all-clear; `onToken` gets every token after it. */
const register = (
  relay: { readonly host: string; readonly port: number; readonly relay: string },
  context: tls.SecureContext,
  onToken: (token: Buffer) => void
) =>
  new Promise<tls.TLSSocket>((resolve, reject) => {
    const { host, port } = relay
    const tcp = connect({ host, port, localAddress: nextSource(), noDelay: true })
    tcp.write(Buffer.from(relay.relay, "base64"))
    const control = tls.connect({ socket: tcp, ...Tls.clientOptions(context) })
    let live = false
    let rest: Buffer = Buffer.alloc(0)
    control.on("error", (error) => reject(error))
    control.on("close", () => reject(new Error("the relay closed the control stream before the all-clear")))
    control.on("data", (chunk: Buffer) => {
      rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
      if (!live) {
        live = true
        rest = rest.subarray(Preamble.allClear.length)
        resolve(control)
      }
      for (; rest.length >= Preamble.length; rest = rest.subarray(Preamble.length)) {
        onToken(rest.subarray(0, Preamble.length))
      }
    })
  })

/** One is used again when the others have been. */
const registering: Array<ReturnType<typeof contextOf>> = []

/** How long a registration takes that ends as soon as it is there. */
const pacedRegistrations = async (relay: Parameters<typeof register>[0], pace: messages.Pace) => {
  await times(64 - registering.length, 8, async () => {
    registering.push(await newIdentity())
  })
  let used = 0
  return paced(pace, async () => {
    const registered = register(relay, registering[used++ % registering.length]!.context, () => {})
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error("no all-clear")), patienceMs)
    })
    // One that comes too late ends then.
    registered.then((control) => control.destroy(), () => {})
    await Promise.race([registered, late]).finally(() => clearTimeout(timer))
  })
}

/** Nodes that have lost their relay and are not registered again yet, and when the last one was. */
let away = 0
let returnedAtMs = 0
let whenAllAreBack = () => {}

type Returning = Extract<messages.FarEndsRequest, { readonly type: "registerReturning" }>

/** Registers with one place after the other until one takes it, as a node does: each wait is longer than the one before. */
const comeBack = async ({ relay, then, waitMs }: Returning, context: tls.SecureContext, number: number) => {
  away++
  for (let attempt = 0;; attempt++) {
    const most = waitMs * 2 ** attempt
    await new Promise((resolve) => setTimeout(resolve, most * (0.5 + Math.random() / 2)))
    const place = then[(number + attempt) % then.length]!
    try {
      await register({ ...place, relay }, context, () => {})
      break
    } catch {
      // It tries again.
    }
  }
  away--
  returnedAtMs = Date.now()
  if (away === 0) {
    whenAllAreBack()
  }
}

const registerReturning = (request: Returning) => {
  let number = 0
  const left = identities.splice(0, request.count).values()
  return times(request.count, request.atATime, async () => {
    const { context } = left.next().value!
    const own = number++
    const control = await register(request, context, () => {})
    control.once("close", () => void comeBack(request, context, own))
  })
}

const identities: Array<ReturnType<typeof contextOf>> = []

serve(async (request: messages.FarEndsRequest) => {
  switch (request.type) {
    case "listen":
      return listen()
    case "register": {
      const { context, digest } = await newIdentity()
      const { host, port } = request.dialBack ?? request
      await register(request, context, (token) => {
        const socket = farEnd((onread) => connect({ host, port, localAddress: nextSource(), noDelay: true, onread }))
        socket.write(token)
      })
      return { digest: Buffer.from(CertDigest.toBytes(digest)).toString("base64") } satisfies messages.Registered
    }
    case "prepareIdentities":
      return times(request.count - identities.length, 8, async () => {
        identities.push(await newIdentity())
      })
    case "registerMany": {
      const left = identities.splice(0, request.count).values()
      return times(request.count, request.atATime, async () => {
        await register(request, left.next().value!.context, () => {})
      })
    }
    case "registerReturning":
      return registerReturning(request)
    case "returned":
      // The first of them may not know yet that it is away.
      await new Promise<void>((resolve) => {
        whenAllAreBack = resolve
      })
      return { atMs: returnedAtMs } satisfies messages.Returned
    case "pacedRegistrations":
      return pacedRegistrations(request, request)
    case "received":
      return { bytes: receivedBytes, atMs: performance.now() } satisfies messages.Received
  }
})
