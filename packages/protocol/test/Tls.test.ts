import { assert, describe, it } from "@effect/vitest"
import { Identity, Tls, WellKnownCa } from "@tx3/protocol"
import { Data, Effect, Either, Option, Redacted } from "effect"
import type { KeyObject } from "node:crypto"
import { createPrivateKey, X509Certificate } from "node:crypto"
import type { AddressInfo } from "node:net"
import * as net from "node:net"
import * as tls from "node:tls"
import { caName, forge, upstream } from "./utils/certificates.js"
import { extendedKeyUsage, leaf, usage } from "./utils/leaves.js"

class HandshakeError extends Data.TaggedError("HandshakeError")<{
  readonly role: "server" | "client"
  readonly code: string | undefined
}> {}

interface Connection {
  readonly server: tls.TLSSocket
  readonly client: tls.TLSSocket
  /** What the client needs to resume the session; it comes some time after the handshake. */
  readonly session: Promise<Buffer>
}

/** A TLS connection over loopback that both sides have finished the handshake of, both destroyed with the scope. */
const handshake = (server: tls.TLSSocketOptions, client: tls.ConnectionOptions) =>
  Effect.gen(function*() {
    const sockets = new Set<net.Socket>()
    const listener = yield* Effect.acquireRelease(
      Effect.async<net.Server>((resume) => {
        const listener = net.createServer().listen(0, "127.0.0.1", () => resume(Effect.succeed(listener)))
      }),
      (listener) =>
        Effect.sync(() => {
          listener.close()
          sockets.forEach((socket) => socket.destroy())
        })
    )
    return yield* Effect.async<Connection, HandshakeError>((resume) => {
      const failAs = (role: HandshakeError["role"]) => (error: NodeJS.ErrnoException) =>
        resume(new HandshakeError({ role, code: error.code }))
      const clientSocket = tls.connect({ host: "127.0.0.1", port: (listener.address() as AddressInfo).port, ...client })
      sockets.add(clientSocket)
      clientSocket.on("error", failAs("client"))
      const session = new Promise<Buffer>((resolve) => clientSocket.once("session", resolve))
      listener.once("connection", (raw) => {
        const serverSocket = new tls.TLSSocket(raw, server)
        sockets.add(serverSocket)
        serverSocket.on("error", failAs("server"))
        serverSocket.once("secure", () => serverSocket.write("!"))
        // A TLS 1.3 client is done before the server has seen its certificate; a byte from there says that both are.
        clientSocket.once("data", () => resume(Effect.succeed({ server: serverSocket, client: clientSocket, session })))
      })
    })
  })

const server = (identity: Identity.Identity) => Tls.serverOptions(Tls.secureContext(identity))
const client = (identity: Identity.Identity) => Tls.clientOptions(Tls.secureContext(identity))

const pem = (identity: { readonly certificate: Uint8Array; readonly privateKey: Redacted.Redacted<Uint8Array> }) => ({
  cert: new X509Certificate(identity.certificate).toString(),
  key: createPrivateKey({ key: Buffer.from(Redacted.value(identity.privateKey)), format: "der", type: "pkcs8" })
    .export({ format: "pem", type: "pkcs8" })
})

const ca = new X509Certificate(WellKnownCa.certificate).toString()

const derOf = (key: KeyObject) => key.export({ format: "der", type: "pkcs8" })

const refusalOf = (socket: tls.TLSSocket) =>
  Option.getOrUndefined(Option.flatMap(Tls.peer(socket), Either.getLeft))?.reason

const forged = Effect.promise(() => forge(caName))

describe("Tls", () => {
  it.scopedLive("tells each side the other's digest", () =>
    Effect.gen(function*() {
      const [alice, bob] = yield* Effect.all([Identity.generate, Identity.generate])
      const connection = yield* handshake(server(alice), client(bob))
      assert.strictEqual(Option.getOrNull(Tls.peerDigest(connection.server)), bob.digest)
      assert.strictEqual(Option.getOrNull(Tls.peerDigest(connection.client)), alice.digest)
      assert.strictEqual(Option.getOrNull(Tls.peerDigest(connection.client)), alice.digest, "asked twice")
      assert.strictEqual(connection.client.getProtocol(), "TLSv1.3")
      assert.strictEqual(connection.client.getCipher().name, "TLS_CHACHA20_POLY1305_SHA256")
      assert.strictEqual((connection.server as { servername?: string }).servername, "tx3")
      assert.strictEqual(connection.server.alpnProtocol, false)
    }))

  it.scopedLive("accepts the original's certificate in both roles", () =>
    Effect.gen(function*() {
      const ours = yield* Identity.generate
      const theirs = yield* Identity.fromDer(upstream)
      const asClient = yield* handshake(server(ours), client(theirs))
      assert.strictEqual(Option.getOrNull(Tls.peerDigest(asClient.server)), theirs.digest)
      const asServer = yield* handshake(server(theirs), client(ours))
      assert.strictEqual(Option.getOrNull(Tls.peerDigest(asServer.client)), theirs.digest)
    }))

  it.scopedLive("speaks the second cipher suite, and no third", () =>
    Effect.gen(function*() {
      const identity = yield* Identity.generate
      const only = (ciphers: string): tls.ConnectionOptions => ({
        ...pem(identity),
        ca,
        ciphers,
        minVersion: "TLSv1.3",
        checkServerIdentity: () => undefined
      })
      const second = yield* handshake(server(identity), only("TLS_AES_256_GCM_SHA384"))
      assert.strictEqual(second.client.getCipher().name, "TLS_AES_256_GCM_SHA384")
      assert.strictEqual(Option.getOrNull(Tls.peerDigest(second.server)), identity.digest)
      assert.instanceOf(
        yield* Effect.flip(handshake(server(identity), only("TLS_AES_128_GCM_SHA256"))),
        HandshakeError
      )
    }))

  it.scopedLive("sends its certificate alone: nobody verifies by the authority's", () =>
    Effect.gen(function*() {
      const [alice, bob] = yield* Effect.all([Identity.generate, Identity.generate])
      const connection = yield* handshake(server(alice), client(bob))
      assert.isUndefined(connection.server.getPeerCertificate(true).issuerCertificate)
      assert.isUndefined(connection.client.getPeerCertificate(true).issuerCertificate)
    }))

  it.scopedLive("gives no digest for a server that the well-known CA did not certify, and says why", () =>
    Effect.gen(function*() {
      const ours = yield* Identity.generate
      const secureContext = tls.createSecureContext({ ...pem(yield* forged), minVersion: "TLSv1.3" })
      const connection = yield* handshake({ isServer: true, secureContext }, client(ours))
      assert.isTrue(Option.isNone(Tls.peerDigest(connection.client)))
      assert.strictEqual(refusalOf(connection.client), "NoExtensions")
    }))

  it.scopedLive("gives no digest for a client that the well-known CA did not certify", () =>
    Effect.gen(function*() {
      const ours = yield* Identity.generate
      const connection = yield* handshake(server(ours), {
        ...pem(yield* forged),
        rejectUnauthorized: false,
        minVersion: "TLSv1.3"
      })
      assert.isTrue(Option.isNone(Tls.peerDigest(connection.server)))
      assert.strictEqual(refusalOf(connection.server), "NoExtensions")
    }))

  it.scopedLive("decides on the certificate of a resumed session too", () =>
    Effect.gen(function*() {
      const ours = yield* Identity.generate
      const theirs = leaf({ extensions: [extendedKeyUsage(usage.serverAuth)] })
      const options = {
        ...pem({ certificate: theirs.certificate, privateKey: Redacted.make(derOf(theirs.privateKey)) }),
        rejectUnauthorized: false,
        minVersion: "TLSv1.3"
      } as const
      const accepting = server(ours)
      const first = yield* handshake(accepting, options)
      const session = yield* Effect.promise(() => first.session)
      const resumed = yield* handshake(accepting, { ...options, session })
      assert.isTrue(resumed.server.isSessionReused())
      assert.strictEqual(refusalOf(first.server), "Usage")
      assert.strictEqual(refusalOf(resumed.server), "Usage")
    }))

  it.scopedLive("refuses a client without a certificate", () =>
    Effect.gen(function*() {
      const ours = yield* Identity.generate
      assert.instanceOf(yield* Effect.flip(handshake(server(ours), { rejectUnauthorized: false })), HandshakeError)
    }))

  it.scopedLive("refuses TLS 1.2 in both roles", () =>
    Effect.gen(function*() {
      const ours = yield* Identity.generate
      const secureContext = tls.createSecureContext({ ...pem(ours), ca, maxVersion: "TLSv1.2" })
      const asServer = yield* Effect.flip(handshake(server(ours), { secureContext, rejectUnauthorized: false }))
      const asClient = yield* Effect.flip(handshake({ isServer: true, secureContext }, client(ours)))
      assert.include([asServer.code, asClient.code].join(), "PROTOCOL")
    }))

  it.scopedLive("still knows a client that resumes its session", () =>
    Effect.gen(function*() {
      const [alice, bob] = yield* Effect.all([Identity.generate, Identity.generate])
      const options = { server: server(alice), client: client(bob) }
      const first = yield* handshake(options.server, options.client)
      const session = yield* Effect.promise(() => first.session)
      const resumed = yield* handshake(options.server, { ...options.client, session })
      assert.isTrue(resumed.server.isSessionReused())
      assert.strictEqual(Option.getOrNull(Tls.peerDigest(resumed.server)), bob.digest)
    }))

  it.scopedLive("gives no digest before the handshake and after the end", () =>
    Effect.gen(function*() {
      const identity = yield* Identity.generate
      assert.isTrue(Option.isNone(Tls.peerDigest(new tls.TLSSocket(new net.Socket(), server(identity)))))
      const connection = yield* handshake(server(identity), client(identity))
      connection.server.destroy()
      assert.isTrue(Option.isNone(Tls.peerDigest(connection.server)))
    }))

  it.live("has OpenSSL accept the original's certificate for a TLS client", () =>
    Effect.gen(function*() {
      const theirs = yield* Identity.fromDer(upstream)
      const authorized = yield* Effect.async<boolean>((resume) => {
        const listener = tls.createServer({ ...pem(theirs), ca, requestCert: true, rejectUnauthorized: false })
        listener.once("secureConnection", (socket) => {
          socket.destroy()
          listener.close()
          resume(Effect.succeed(socket.authorized))
        })
        listener.listen(0, "127.0.0.1", () => {
          tls.connect({ port: (listener.address() as AddressInfo).port, ...client(theirs) }).on("error", () => {})
        })
      })
      assert.isTrue(authorized)
    }))
})
