/** Where a transport listens, and when it stops. */
import { Transport } from "@tx3/transport"
import { Effect, Exit, Queue, Scope as Scopes } from "effect"
import { assert } from "vitest"
import { connect, payload } from "../client.js"
import { accepted, arrived, echoes, listening, splice } from "../fixtures.js"
import type { Subject } from "../transportSuite.js"

export const listeningTests: Subject = (test) => {
  test(
    "port 0 gives a port that can be connected to",
    Effect.gen(function*() {
      const listener = yield* listening()
      assert.strictEqual(listener.host, "127.0.0.1")
      assert.isAbove(listener.port, 0)
      const { connection } = yield* accepted(listener)
      assert.strictEqual(connection.remoteAddress, "127.0.0.1")
    })
  )

  test(
    "an address in use fails and says what to do",
    Effect.gen(function*() {
      const { host, port } = yield* listening()
      const error = yield* Effect.flip(listening({ host, port }))
      assert.strictEqual(error._tag, "ListenError")
      assert.strictEqual(error.cause.code, "EADDRINUSE")
      assert.strictEqual(
        error.message,
        `cannot listen on 127.0.0.1:${port}: another program listens there already, or has a connection from that port; stop it or choose another port`
      )
    })
  )

  test(
    "an address of another machine fails and says what to do",
    Effect.gen(function*() {
      // TEST-NET-1 of RFC 5737 and the documentation prefix of RFC 3849: nobody has them.
      for (const [host, shown] of [["192.0.2.1", "192.0.2.1"], ["2001:db8::1", "[2001:db8::1]"]] as const) {
        const error = yield* Effect.flip(listening({ host, port: 1234 }))
        assert.strictEqual(error._tag, "ListenError")
        assert.strictEqual(error.cause.code, "EADDRNOTAVAIL")
        assert.include(error.message, `cannot listen on ${shown}:1234: this machine has no such address; bind`)
      }
    })
  )

  test(
    "ipv6Only lets 0.0.0.0 and :: share a port",
    Effect.gen(function*() {
      const four = yield* listening({ host: "0.0.0.0" })
      const six = yield* listening({ host: "::", ipv6Only: true, port: four.port })
      assert.strictEqual(six.port, four.port)
      const viaFour = yield* accepted({ ...four, host: "127.0.0.1" })
      assert.strictEqual(viaFour.connection.remoteAddress, "127.0.0.1")
      const viaSix = yield* accepted({ ...six, host: "::1" })
      assert.strictEqual(viaSix.connection.remoteAddress, "::1")
    })
  )

  test(
    "without ipv6Only :: takes both families",
    Effect.gen(function*() {
      const both = yield* listening({ host: "::" })
      const four = yield* accepted({ ...both, host: "127.0.0.1" })
      assert.strictEqual(four.connection.remoteAddress, "::ffff:127.0.0.1")
      const six = yield* accepted({ ...both, host: "::1" })
      assert.strictEqual(six.connection.remoteAddress, "::1")
      const error = yield* Effect.flip(listening({ host: "0.0.0.0", port: both.port }))
      assert.strictEqual(error._tag, "ListenError")
    })
  )

  test(
    "closing the scope stops accepting and leaves accepted connections alone",
    Effect.gen(function*() {
      const transport = yield* Transport.Transport
      const connections = yield* Queue.unbounded<Transport.Connection>()
      const scope = yield* Scopes.make()
      const bound = yield* transport.listen({
        host: "127.0.0.1",
        port: 0,
        ipv6Only: false,
        onConnection: (connection) => connections.unsafeOffer(connection),
        onAcceptError: () => {}
      }).pipe(Scopes.extend(scope))
      const listener = { ...bound, arrival: Effect.unsafeMakeSemaphore(1), connections }
      const left = yield* arrived(listener)
      const right = yield* accepted(listener)
      yield* Scopes.close(scope, Exit.void)

      const refused = yield* Effect.flip(connect(bound))
      assert.strictEqual(refused.code, "ECONNREFUSED")

      right.client.socket.write(payload(32))
      yield* right.connection.preamble
      yield* splice(left, right)
      yield* echoes(left, right)
      yield* listening({ port: bound.port })
    })
  )
}
