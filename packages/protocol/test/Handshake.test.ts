import { assert, describe, it } from "@effect/vitest"
import { Handshake, Identity, Tls } from "@tx3/protocol"
import { Effect, Exit, Fiber, Redacted, Scope } from "effect"
import { createPrivateKey, X509Certificate } from "node:crypto"
import type * as net from "node:net"
import * as tls from "node:tls"
import { caName, forge } from "./utils/certificates.js"
import { socketPair } from "./utils/socketPair.js"

const context = Effect.map(Identity.generate, (identity) => ({ context: Tls.secureContext(identity), identity }))

const untrustedContext = Effect.promise(() => forge(caName)).pipe(
  Effect.map(({ certificate, privateKey }) =>
    tls.createSecureContext({
      cert: new X509Certificate(certificate).toString(),
      key: createPrivateKey({ key: Buffer.from(Redacted.value(privateKey)), format: "der", type: "pkcs8" })
        .export({ format: "pem", type: "pkcs8" })
    })
  )
)

const closed = (socket: net.Socket) =>
  Effect.async<void>((resume) => {
    if (socket.closed) {
      resume(Effect.void)
    } else {
      socket.once("close", () => resume(Effect.void))
    }
  })

describe("Handshake", () => {
  it.scopedLive("tells each side who the other is, and loses no byte sent right behind it", () =>
    Effect.gen(function*() {
      const [near, far] = yield* socketPair
      const [alice, bob] = yield* Effect.all([context, context])
      const [client, server] = yield* Effect.all([
        Handshake.connect(near, alice.context),
        Effect.tap(Handshake.accept(far, bob.context), ({ socket }) => Effect.sync(() => socket.write("first")))
      ], { concurrency: "unbounded" })
      assert.strictEqual(client.digest, bob.identity.digest)
      assert.strictEqual(server.digest, alice.identity.digest)
      const first = yield* Effect.async<Buffer>((resume) => {
        client.socket.once("data", (bytes) => resume(Effect.succeed(bytes)))
      })
      assert.strictEqual(first.toString(), "first")
    }))

  it.scopedLive("lets neither side take a certificate for tx3's that is not", () =>
    Effect.gen(function*() {
      const ours = yield* context
      const theirs = yield* untrustedContext
      const [near, far] = yield* socketPair
      yield* Effect.sync(() => tls.connect({ rejectUnauthorized: false, secureContext: theirs, socket: near }))
      assert.strictEqual((yield* Effect.flip(Handshake.accept(far, ours.context))).reason, "untrusted")

      const [near2, far2] = yield* socketPair
      yield* Effect.sync(() => new tls.TLSSocket(far2, { isServer: true, secureContext: theirs }).on("error", () => {}))
      const error = yield* Effect.flip(Handshake.connect(near2, ours.context))
      assert.strictEqual(error.reason, "untrusted")
      assert.strictEqual(error.message, "the other end's certificate is not one of tx3: it has no extensions")
    }))

  it.scopedLive.each(
    [["ends", (socket: net.Socket) => socket.end()], [
      "resets",
      (socket: net.Socket) => socket.resetAndDestroy()
    ]] as const
  )("fails at once when the other end %s in the middle", ([, leave]) =>
    Effect.gen(function*() {
      const [near, far] = yield* socketPair
      const { context: ours } = yield* context
      const accepting = yield* Effect.fork(Effect.flip(Handshake.accept(far, ours)))
      yield* Effect.yieldNow()
      leave(near)
      assert.strictEqual((yield* Fiber.join(accepting)).reason, "closed")
    }))

  it.scopedLive("fails on bytes that are no TLS", () =>
    Effect.gen(function*() {
      const [near, far] = yield* socketPair
      near.write("GET / HTTP/1.1\r\n\r\n")
      const { context: ours } = yield* context
      assert.strictEqual((yield* Effect.flip(Handshake.accept(far, ours))).reason, "failed")
    }))

  it.scopedLive("destroys the stream with its scope, in the middle of a handshake too", () =>
    Effect.gen(function*() {
      const { context: ours } = yield* context
      const [, far] = yield* socketPair
      const scope = yield* Scope.make()
      const accepting = yield* Effect.fork(Scope.extend(Handshake.accept(far, ours), scope))
      yield* Effect.yieldNow()
      yield* Fiber.interrupt(accepting)
      yield* Scope.close(scope, Exit.void)
      yield* closed(far)
      assert.isTrue(far.destroyed)
    }))
})
