/** What a hostile end may send before, in and after a handshake. */
import { assert, describe, it } from "@effect/vitest"
import { Handshake, Identity, Tls } from "@tx3/protocol"
import { Effect, Either, Fiber } from "effect"
import { X509Certificate } from "node:crypto"
import * as tls from "node:tls"
import type { Leaf } from "./utils/leaves.js"
import * as make from "./utils/leaves.js"
import * as records from "./utils/records.js"
import { socketPair } from "./utils/socketPair.js"

const [ours, theirs] = await Effect.runPromise(
  Effect.all([Identity.generate, Identity.generate]).pipe(
    Effect.map(([ours, theirs]) => [Tls.secureContext(ours), Tls.secureContext(theirs)] as const)
  )
)

/** A good leaf, and behind it what nobody asked for. */
const contextOf = (leaf: Leaf, behind: ReadonlyArray<Leaf>) =>
  tls.createSecureContext({
    cert: [leaf, ...behind].map(({ certificate }) => new X509Certificate(certificate).toString()).join(""),
    key: leaf.privateKey.export({ format: "pem", type: "pkcs8" })
  })

const sect571r1 = make.ec("sect571r1")

/** Each signs the next, all on a slow curve. */
const intermediates = (count: number) =>
  Array.from({ length: count }, (_, index) =>
    make.leaf({
      extensions: [make.basicConstraints(make.isTrue)],
      issuer: make.commonName(`${index + 1}`),
      keys: sect571r1,
      signingKey: sect571r1.privateKey,
      subject: make.commonName(`${index}`)
    }))

const roles = {
  server: (context: tls.SecureContext) =>
    Effect.flatMap(socketPair, ([near, far]) => {
      tls.connect({ rejectUnauthorized: false, secureContext: context, socket: near }).on("error", () => {})
      return Handshake.accept(far, ours)
    }),
  client: (context: tls.SecureContext) =>
    Effect.flatMap(socketPair, ([near, far]) => {
      new tls.TLSSocket(far, { isServer: true, requestCert: true, secureContext: context }).on("error", () => {})
      return Handshake.connect(near, ours)
    })
}

describe.each(Object.entries(roles))("Handshake as %s", (_, handshake) => {
  const leafUnder0 = () => make.leaf({ issuer: make.commonName("0"), signingKey: sect571r1.privateKey })

  it.scopedLive.each(
    [
      ["98 intermediates", leafUnder0, 98, "oversized", "more than 8192 bytes"],
      ["10 intermediates", leafUnder0, 10, "failed", "more than 2 certificates"],
      ["2 certificates behind a good leaf", make.leaf, 2, "failed", "more than 2 certificates"],
      ["1 intermediate", leafUnder0, 1, "untrusted", "its issuer"]
    ] as const
  )("gives OpenSSL no chain to build: %s", ([, leaf, count, reason, message]) =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(handshake(contextOf(leaf(), intermediates(count))))
      assert.strictEqual(error.reason, reason)
      assert.include(error.message, message)
    }))

  it.scopedLive("is done with one certificate behind a good leaf", () =>
    handshake(contextOf(make.leaf(), intermediates(1))))
})

const accepted = (options?: Handshake.Options, onSecure?: (socket: tls.TLSSocket) => void) =>
  Effect.gen(function*() {
    const [near, far] = yield* socketPair
    const client = records.client(near.setNoDelay(), Tls.clientOptions(theirs), onSecure)
    const [made, { socket }] = yield* Effect.all([client.records, Handshake.accept(far, ours, options)], {
      concurrency: "unbounded"
    })
    return { near, records: made, socket }
  })

/** How many bytes of data come, until there are that many or the socket fails. */
const received = (socket: tls.TLSSocket, bytes: number) =>
  Effect.async<number, Error>((resume) => {
    let count = 0
    socket.on("data", (chunk: Buffer) => {
      count += chunk.length
      if (count >= bytes) {
        resume(Effect.succeed(count))
      }
    })
    socket.once("error", (error) => resume(Effect.fail(error)))
  })

describe("Handshake", () => {
  it.scopedLive("holds back what comes right behind the last message of the handshake, and loses nothing of it", () =>
    Effect.gen(function*() {
      const { socket } = yield* accepted({}, (socket) => socket.write(Buffer.alloc(200_000)))
      assert.strictEqual(yield* received(socket, 200_000), 200_000)
    }))

  it.scopedLive("takes a handshake byte by byte", () =>
    Effect.gen(function*() {
      const [near, far] = yield* socketPair
      const accepting = yield* Effect.fork(Handshake.accept(far, ours))
      const write = near.setNoDelay().write.bind(near)
      near.write = ((chunk: Buffer | string, ...rest: Array<never>) => {
        const bytes = Buffer.from(chunk as Buffer)
        for (let at = 0; at < bytes.length - 1; at++) {
          write(bytes.subarray(at, at + 1))
        }
        return write(bytes.subarray(-1), ...rest)
      }) as typeof near.write
      records.client(near, Tls.clientOptions(theirs))
      yield* Fiber.join(accepting)
    }))

  it.scopedLive("gives up a handshake of endless messages, and one of records that are not encrypted with its keys", () =>
    Effect.gen(function*() {
      const [near, far] = yield* socketPair
      near.write(Buffer.concat([Buffer.from("1603014000", "hex"), Buffer.alloc(9000)]))
      assert.strictEqual((yield* Effect.flip(Handshake.accept(far, ours))).reason, "oversized")

      const [near2, far2] = yield* socketPair
      const client = records.client(near2, Tls.clientOptions(theirs))
      const write = near2.write.bind(near2)
      near2.write = ((chunk: Buffer) =>
        write(chunk[0] === 0x16 ? chunk : Buffer.concat([Buffer.from("1703030040", "hex"), Buffer.alloc(64)]))) as never
      const error = yield* Effect.flip(Handshake.accept(far2, ours))
      assert.include(error.message, "a record cannot be decrypted")
      client.socket.destroy()
    }))

  it.scopedLive("ends a connection of KeyUpdates", () =>
    Effect.gen(function*() {
      const { near, records, socket } = yield* accepted()
      const failing = yield* Effect.fork(Effect.either(received(socket, 1)))
      near.write(Buffer.concat(Array.from({ length: 2000 }, () => records.keyUpdate())))
      assert.instanceOf(Either.getOrThrow(Either.flip(yield* Fiber.join(failing))), Handshake.Flood)
    }))

  it.scopedLive("takes some KeyUpdates, and as many as belong to the data", () =>
    Effect.gen(function*() {
      const { near, records, socket } = yield* accepted()
      const receiving = yield* Effect.fork(received(socket, 400_001))
      near.write(Buffer.concat(Array.from({ length: 60 }, () => records.keyUpdate())))
      near.write(records.data(Buffer.from("x")))
      near.write(Buffer.concat(Array.from({ length: 200 }, () =>
        Buffer.concat([records.data(Buffer.alloc(2000)), records.keyUpdate()]))))
      assert.strictEqual(yield* Fiber.join(receiving), 400_001)
    }))

  it.scopedLive("takes any number of records with a byte of data", () =>
    Effect.gen(function*() {
      const { near, records, socket } = yield* accepted()
      const receiving = yield* Effect.fork(received(socket, 5000))
      near.write(Buffer.concat(Array.from({ length: 5000 }, () => records.data(Buffer.from("x")))))
      assert.strictEqual(yield* Fiber.join(receiving), 5000)
    }))

  it.scopedLive("ends a connection of records that are empty or all padding", () =>
    Effect.gen(function*() {
      const { near, records, socket } = yield* accepted()
      const failing = yield* Effect.fork(Effect.either(received(socket, 1)))
      near.write(Buffer.concat(Array.from({ length: 200 }, () => records.data(Buffer.alloc(0), 100))))
      assert.isTrue(Either.isLeft(yield* Fiber.join(failing)))
    }))

  it.scopedLive("ends a connection that says more than it may", () =>
    Effect.gen(function*() {
      const { near, records, socket } = yield* accepted({ maxBytes: 1024 })
      const failing = yield* Effect.fork(Effect.either(received(socket, 1)))
      near.write(Buffer.concat(Array.from({ length: 40 }, () => records.keyUpdate())))
      assert.instanceOf(Either.getOrThrow(Either.flip(yield* Fiber.join(failing))), Handshake.Flood)
    }))
})
