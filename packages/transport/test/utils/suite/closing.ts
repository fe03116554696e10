/** Closing a connection before it is spliced. */
import type { Transport } from "@tx3/transport"
import { Effect, Fiber } from "effect"
import { assert } from "vitest"
import { payload } from "../client.js"
import type { Link } from "../fixtures.js"
import { accepted, listening } from "../fixtures.js"
import { eventually, openSockets, turns } from "../system.js"
import type { Subject } from "../transportSuite.js"

export const closingTests: Subject = (test) => {
  test(
    "ends the connection at every stage, gives its descriptor back, and may be repeated",
    Effect.gen(function*() {
      const listener = yield* listening()
      const stages: ReadonlyArray<(link: Link) => Effect.Effect<unknown, Transport.HungUp>> = [
        () => Effect.void,
        ({ connection }) => connection.preamble,
        ({ connection }) => Effect.zipRight(connection.preamble, connection.toDuplex)
      ]
      for (const stage of stages) {
        const before = openSockets()
        const link = yield* accepted(listener)
        assert.strictEqual(openSockets(), before + 2)
        link.client.socket.write(payload(32))
        yield* stage(link)
        yield* link.connection.close
        yield* link.connection.close
        yield* link.client.readAll
        // A client that is reset, for what it sent was not read, closes its own.
        yield* eventually("a closed descriptor", () => openSockets() === before + (link.client.closed ? 0 : 1))
        yield* link.connection.close
        link.client.socket.destroy()
      }
    })
  )

  test(
    "may be a reset, once the preamble has been read",
    Effect.gen(function*() {
      const listener = yield* listening()
      const before = openSockets()
      const { client, connection } = yield* accepted(listener)
      client.socket.write(payload(32))
      yield* connection.preamble
      connection.resetNow()
      connection.resetNow()
      yield* client.until("its end", () => client.ending !== undefined)
      assert.strictEqual(client.ending, "reset")
      yield* eventually("closed descriptors", () => openSockets() === before)
    })
  )

  test(
    "ends a wait for the preamble",
    Effect.gen(function*() {
      const { connection } = yield* accepted(yield* listening())
      const waiting = yield* Effect.fork(Effect.flip(connection.preamble))
      yield* turns()
      yield* connection.close
      assert.strictEqual((yield* Fiber.join(waiting))._tag, "HungUp")
    })
  )
}
