/**
 * What every `Transport` has to do, tried on real sockets of 127.0.0.1 and ::1.
 *
 * Uses nothing but the tag and plain clients. Every test also checks that all its sockets are closed when its scope is,
 * and that each splice has reported exactly once.
 */
import { describe, it } from "@effect/vitest"
import { sendUrgentAndEnd } from "@tx3/testing/urgent"
import { Rate, Transport } from "@tx3/transport"
import type { Scope } from "effect"
import { Effect, Exit, Fiber, Layer, Queue, Scope as Scopes } from "effect"
import { createHash } from "node:crypto"
import type { Duplex } from "node:stream"
import { assert } from "vitest"
import { connect, ordinary, payload, sendUrgent, withoutUrgent } from "./client.js"
import type { Link, Spliced } from "./fixtures.js"
import {
  accepted,
  arrived,
  bulkSplice,
  insideFromLeft,
  listening,
  noLeak,
  pump,
  splice,
  spliced,
  stalled
} from "./fixtures.js"
import { proxySuite } from "./proxySuite.js"
import { bufferBytes, eventually, kernelSocket, openSockets, turns } from "./system.js"

const mebibyte = 1024 * 1024

/** What a splice or a connection may keep in this process, one way. */
const keptMax = 2 * mebibyte

/** More than the sockets between a sender and a reader that does not read can hold. */
const heap = 32 * mebibyte

const timeoutMs = 30_000

export const transportSuite = <E>(name: string, layer: Layer.Layer<Transport.Transport, E>) => {
  const test = (title: string, body: Effect.Effect<unknown, unknown, Transport.Transport | Scope.Scope>) =>
    it.scopedLive(
      title,
      () =>
        noLeak.pipe(
          Effect.zipRight(Layer.build(layer)),
          Effect.flatMap((context) => Effect.provide(body, context))
        ),
      timeoutMs
    )

  describe(name, () => {
    describe("listen", () => {
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
    })

    describe("proxies", () => proxySuite(test))

    describe("preamble", () => {
      test(
        "comes together from single bytes",
        Effect.gen(function*() {
          const { client, connection } = yield* accepted(yield* listening())
          const reading = yield* Effect.fork(connection.preamble)
          const bytes = payload(32)
          for (const byte of bytes) {
            client.socket.write(Uint8Array.of(byte))
            yield* turns()
          }
          assert.deepStrictEqual(Buffer.from(yield* Fiber.join(reading)), bytes)
        })
      )

      test(
        "is 32 bytes; the rest of the segment stays for the next stage",
        Effect.gen(function*() {
          const listener = yield* listening()
          const { client, connection } = yield* accepted(listener)
          const bytes = payload(32 + 1000)
          client.socket.write(bytes)
          assert.deepStrictEqual(Buffer.from(yield* connection.preamble), bytes.subarray(0, 32))
          const right = yield* arrived(listener)
          yield* splice({ client, connection }, right)
          assert.deepStrictEqual(yield* right.client.read(1000), bytes.subarray(32))
        })
      )

      test(
        "more than anybody keeps, sent before anybody decides, stalls the sender and loses nothing",
        Effect.gen(function*() {
          const listener = yield* listening()
          const { client, connection } = yield* accepted(listener)
          const bytes = payload(heap)
          client.stream(bytes)
          yield* stalled(client)
          const inSockets = kernelSocket(client.socket.localPort!, listener.port)!.sending +
            kernelSocket(listener.port, client.socket.localPort!)!.unread
          assert.isBelow(client.accepted - inSockets, keptMax)

          assert.deepStrictEqual(Buffer.from(yield* connection.preamble), bytes.subarray(0, 32))
          yield* stalled(client)
          assert.isBelow(client.accepted, bytes.length - mebibyte)
          const right = yield* arrived(listener)
          const { carried } = yield* splice({ client, connection }, right)
          const received = yield* right.client.read(bytes.length - 32)
          assert.isTrue(received.equals(bytes.subarray(32)))
          assert.deepStrictEqual(carried(), { fromLeft: bytes.length - 32, fromRight: 0 })
        })
      )

      test(
        "a FIN before 32 bytes is a hang-up, before or after the wait begins",
        Effect.gen(function*() {
          const listener = yield* listening()
          const first = yield* accepted(listener)
          const waiting = yield* Effect.fork(Effect.flip(first.connection.preamble))
          first.client.socket.write(payload(31))
          yield* turns()
          first.client.socket.end()
          assert.strictEqual((yield* Fiber.join(waiting))._tag, "HungUp")

          const second = yield* accepted(listener)
          second.client.socket.end(payload(31))
          yield* hungUp(second)
          assert.strictEqual((yield* Effect.flip(second.connection.preamble))._tag, "HungUp")
        })
      )

      test(
        "a reset before 32 bytes is a hang-up, before or after the wait begins",
        Effect.gen(function*() {
          const listener = yield* listening()
          const first = yield* accepted(listener)
          const waiting = yield* Effect.fork(Effect.flip(first.connection.preamble))
          first.client.socket.write(payload(31))
          yield* turns()
          first.client.reset()
          assert.strictEqual((yield* Fiber.join(waiting))._tag, "HungUp")

          const second = yield* accepted(listener)
          second.client.reset()
          yield* hungUp(second)
          assert.strictEqual((yield* Effect.flip(second.connection.preamble))._tag, "HungUp")
        })
      )

      test(
        "32 bytes with a FIN behind them are a preamble",
        Effect.gen(function*() {
          const listener = yield* listening()
          const bytes = payload(32)
          const first = yield* accepted(listener)
          first.client.socket.end(bytes)
          assert.deepStrictEqual(Buffer.from(yield* first.connection.preamble), bytes)

          const second = yield* accepted(listener)
          second.client.socket.end(bytes)
          yield* hungUp(second)
          assert.deepStrictEqual(Buffer.from(yield* second.connection.preamble), bytes)
        })
      )

      test(
        "an interrupted wait takes nothing away",
        Effect.gen(function*() {
          const { client, connection } = yield* accepted(yield* listening())
          const bytes = payload(32)
          const first = yield* Effect.fork(connection.preamble)
          client.socket.write(bytes.subarray(0, 20))
          yield* turns()
          yield* Fiber.interrupt(first)
          client.socket.write(bytes.subarray(20))
          yield* turns()
          assert.deepStrictEqual(Buffer.from(yield* connection.preamble), bytes)
        })
      )
    })

    describe("onHangUp", () => {
      for (
        const [how, hangUp] of [
          ["a FIN", ({ client }: Link) => client.socket.end()],
          ["a reset", ({ client }: Link) => client.reset()],
          ["a FIN behind bytes that nobody reads", ({ client }: Link) => client.socket.end(payload(10_000))],
          ["a reset behind bytes that nobody reads", ({ client }: Link) => {
            client.socket.write(payload(10_000))
            client.reset()
          }]
        ] as const
      ) {
        test(
          `${how} calls the listener, once`,
          Effect.gen(function*() {
            const link = yield* arrived(yield* listening(), { behind: payload(100) })
            let calls = 0
            link.connection.onHangUp(() => calls++)
            yield* turns()
            assert.strictEqual(calls, 0)
            hangUp(link)
            yield* eventually("the listener's call", () => calls > 0)
            yield* link.connection.close
            yield* turns(20)
            assert.strictEqual(calls, 1)
          })
        )

        test(
          `${how} in the past calls the listener at once`,
          Effect.gen(function*() {
            const link = yield* arrived(yield* listening())
            hangUp(link)
            yield* hungUp(link)
            let calls = 0
            link.connection.onHangUp(() => calls++)
            assert.strictEqual(calls, 1)
            yield* link.connection.close
            yield* turns(20)
            assert.strictEqual(calls, 1)
          })
        )
      }

      test(
        "undefined takes the listener off, another one replaces it",
        Effect.gen(function*() {
          const listener = yield* listening()
          const off = yield* arrived(listener)
          const replaced = yield* arrived(listener)
          const last = yield* arrived(listener)
          const calls: Array<string> = []
          off.connection.onHangUp(() => calls.push("taken off"))
          off.connection.onHangUp(undefined)
          replaced.connection.onHangUp(() => calls.push("replaced"))
          replaced.connection.onHangUp(() => calls.push("new"))
          off.client.socket.end()
          replaced.client.socket.end()
          yield* turns()
          last.client.socket.end()
          yield* hungUp(last)
          // Threads hear of their connections in no order.
          yield* eventually("a call", () => calls.length > 0)
          yield* turns()
          assert.deepStrictEqual(calls, ["new"])
        })
      )

      test(
        "is not called for bytes, nor when this end closes",
        Effect.gen(function*() {
          const { client, connection } = yield* arrived(yield* listening())
          let calls = 0
          connection.onHangUp(() => calls++)
          client.socket.write(payload(1000))
          yield* turns(20)
          yield* connection.close
          yield* turns(20)
          assert.strictEqual(calls, 0)
        })
      )
    })

    describe("toDuplex", () => {
      test(
        "begins with the bytes behind the preamble, in order, and goes on both ways",
        Effect.gen(function*() {
          const bytes = payload(100_000)
          const { client, connection } = yield* arrived(yield* listening(), { behind: bytes.subarray(0, 10) })
          for (const [from, to] of [[10, 11], [11, 500], [500, 20_000]] as const) {
            client.socket.write(bytes.subarray(from, to))
            yield* turns()
          }
          const duplex = yield* connection.toDuplex
          client.socket.write(bytes.subarray(20_000))
          assert.isTrue((yield* readDuplex(duplex, bytes.length)).equals(bytes))
          duplex.write(bytes)
          assert.isTrue((yield* client.read(bytes.length)).equals(bytes))
        })
      )

      test(
        "gives everything that was sent before, even more than is kept",
        Effect.gen(function*() {
          const bytes = payload(16 * mebibyte)
          const { client, connection } = yield* arrived(yield* listening())
          client.socket.end(bytes)
          yield* turns(20)
          const duplex = yield* connection.toDuplex
          assert.isTrue((yield* readDuplex(duplex, bytes.length)).equals(bytes))
          yield* eventually("the Duplex's end", () => duplex.read() === null && duplex.readableEnded)
        })
      )

      test(
        "half-closes each way on its own",
        Effect.gen(function*() {
          const listener = yield* listening()
          const theirs = yield* arrived(listener)
          const first = yield* theirs.connection.toDuplex
          theirs.client.socket.end("request")
          assert.strictEqual((yield* readDuplex(first, 7)).toString(), "request")
          yield* eventually("the Duplex's end", () => first.read() === null && first.readableEnded)
          first.write("ans")
          yield* turns()
          first.end("wer")
          const answer = yield* theirs.client.readAll
          assert.deepStrictEqual([answer.bytes.toString(), answer.ending], ["answer", "end"])

          const ours = yield* arrived(listener)
          const second = yield* ours.connection.toDuplex
          second.end("request")
          const request = yield* ours.client.readAll
          assert.deepStrictEqual([request.bytes.toString(), request.ending], ["request", "end"])
          ours.client.socket.write("ans")
          yield* turns()
          ours.client.socket.end("wer")
          assert.strictEqual((yield* readDuplex(second, 6)).toString(), "answer")
        })
      )

      test(
        "fails if the remote end has hung up",
        Effect.gen(function*() {
          const listener = yield* listening()
          const ended = yield* arrived(listener, { behind: payload(10) })
          ended.client.socket.end()
          yield* hungUp(ended)
          assert.strictEqual((yield* Effect.flip(ended.connection.toDuplex))._tag, "HungUp")

          const reset = yield* arrived(listener)
          reset.client.reset()
          yield* hungUp(reset)
          assert.strictEqual((yield* Effect.flip(reset.connection.toDuplex))._tag, "HungUp")
        })
      )

      test(
        "keeps nothing of what went through it",
        Effect.gen(function*() {
          const { client, connection } = yield* arrived(yield* listening())
          const duplex = yield* connection.toDuplex
          const bytes = payload(4 * mebibyte)
          const before = bufferBytes()
          for (let time = 0; time < 8; time++) {
            client.socket.write(bytes)
            yield* readDuplex(duplex, bytes.length)
          }
          yield* eventually("freed buffers", () => bufferBytes() - before < 2 * bytes.length)
        })
      )

      test(
        "close destroys it",
        Effect.gen(function*() {
          const { client, connection } = yield* arrived(yield* listening())
          const duplex = yield* connection.toDuplex
          yield* connection.close
          yield* eventually("a destroyed Duplex", () => duplex.destroyed)
          yield* client.readAll
        })
      )
    })

    describe("close", () => {
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
        "ends a wait for the preamble",
        Effect.gen(function*() {
          const { connection } = yield* accepted(yield* listening())
          const waiting = yield* Effect.fork(Effect.flip(connection.preamble))
          yield* turns()
          yield* connection.close
          assert.strictEqual((yield* Fiber.join(waiting))._tag, "HungUp")
        })
      )
    })

    describe("sockets", () => {
      test(
        "keep-alive runs on an accepted connection, 7 seconds at most",
        Effect.gen(function*() {
          const listener = yield* listening()
          const { client } = yield* arrived(listener)
          yield* eventually("a keep-alive timer", () => {
            const { sending, timer, timerMs } = kernelSocket(listener.port, client.socket.localPort!)!
            // Below a second it is a delayed acknowledgement.
            return sending === 0 && timer === 2 && timerMs > 1_000 && timerMs <= 7_000
          })
        })
      )

      test(
        "TCP_NODELAY is set: a second small write does not wait for the first one's acknowledgement",
        Effect.gen(function*() {
          const { left, right } = yield* spliced()
          const half = payload(10 * 1024)
          const exchangeMs: Array<number> = []
          for (let exchange = 0; exchange < 50; exchange++) {
            const began = performance.now()
            for (const [from, to] of [[left, right], [right, left]] as const) {
              from.client.socket.write(half)
              yield* to.client.read(half.length)
              from.client.socket.write(half)
              yield* to.client.read(half.length)
            }
            exchangeMs.push(performance.now() - began)
          }
          // Waiting costs 40 ms each way; what a busy machine adds to some of them is beside the point.
          exchangeMs.sort((one, other) => one - other)
          assert.isBelow(exchangeMs[10]!, 40)
        })
      )
    })

    describe("splice", () => {
      test(
        "carries 64 MiB both ways at once",
        Effect.gen(function*() {
          const { carried, left, report, right } = yield* spliced()
          const [fromLeft, fromRight] = [payload(64 * mebibyte), payload(64 * mebibyte)]
          left.client.socket.end(fromLeft)
          right.client.socket.end(fromRight)
          const [atLeft, atRight] = yield* Effect.all([left.client.readAll, right.client.readAll], {
            concurrency: "unbounded"
          })
          assert.deepStrictEqual([atLeft.ending, atRight.ending], ["end", "end"])
          assert.strictEqual(sha256(atLeft.bytes), sha256(fromRight))
          assert.strictEqual(sha256(atRight.bytes), sha256(fromLeft))
          const counts = { fromLeft: fromLeft.length, fromRight: fromRight.length }
          assert.deepStrictEqual(yield* report, { ...counts, outcome: "completed" })
          assert.deepStrictEqual(carried(), counts)
        })
      )

      test(
        "delivers what came before it first and in order, both ways",
        Effect.gen(function*() {
          const listener = yield* listening()
          const [fromLeft, fromRight] = [payload(200_000), payload(150_000)]
          const left = yield* arrived(listener, { behind: fromLeft.subarray(0, 100) })
          const right = yield* arrived(listener, { behind: fromRight.subarray(0, 1) })
          for (const [from, to] of [[100, 101], [101, 900], [900, 30_000]] as const) {
            left.client.socket.write(fromLeft.subarray(from, to))
            right.client.socket.write(fromRight.subarray(from - 99, to - 99))
            yield* turns()
          }
          left.client.socket.write(fromLeft.subarray(30_000, 100_000))
          right.client.socket.write(fromRight.subarray(29_901, 100_000))
          const { carried } = yield* splice(left, right)
          left.client.socket.write(fromLeft.subarray(100_000))
          right.client.socket.write(fromRight.subarray(100_000))
          assert.isTrue((yield* right.client.read(fromLeft.length)).equals(fromLeft))
          assert.isTrue((yield* left.client.read(fromRight.length)).equals(fromRight))
          assert.deepStrictEqual(carried(), { fromLeft: fromLeft.length, fromRight: fromRight.length })
        })
      )

      for (const first of ["left", "right"] as const) {
        test(
          `passes a half-close of the ${first} side on, and data the other way afterwards`,
          Effect.gen(function*() {
            const pair = yield* spliced()
            const [one, other] = sides(pair, first)
            const [request, response] = [payload(5_000), payload(3 * mebibyte)]
            one.client.socket.end(request)
            const got = yield* other.client.readAll
            assert.isTrue(got.bytes.equals(request))
            assert.strictEqual(got.ending, "end")

            yield* turns(20)
            other.client.socket.write(response.subarray(0, 100))
            yield* one.client.read(100)
            assert.strictEqual(one.client.ending, undefined)
            other.client.socket.end(response.subarray(100))
            const answer = yield* one.client.readAll
            assert.isTrue(answer.bytes.equals(response.subarray(100)))
            assert.strictEqual(answer.ending, "end")
            assert.deepStrictEqual(yield* pair.report, {
              fromLeft: first === "left" ? request.length : response.length,
              fromRight: first === "left" ? response.length : request.length,
              outcome: "completed"
            })
          })
        )

        test(
          `passes a FIN on that the ${first} side sent before the splice began`,
          Effect.gen(function*() {
            const listener = yield* listening()
            const one = yield* arrived(listener, { behind: Buffer.from("request") })
            one.client.socket.end()
            yield* hungUp(one)
            const other = yield* arrived(listener)
            const pair = first === "left" ? yield* splice(one, other) : yield* splice(other, one)
            const request = yield* other.client.readAll
            assert.deepStrictEqual([request.bytes.toString(), request.ending], ["request", "end"])
            other.client.socket.end("response")
            const response = yield* one.client.readAll
            assert.deepStrictEqual([response.bytes.toString(), response.ending], ["response", "end"])
            assert.strictEqual((yield* pair.report).outcome, "completed")
          })
        )

        test(
          `a reset of the ${first} side resets the other`,
          Effect.gen(function*() {
            const pair = yield* spliced()
            const [one, other] = sides(pair, first)
            yield* echoes(one, other)
            one.client.reset()
            assert.strictEqual((yield* other.client.readAll).ending, "reset")
            const counts = { fromLeft: 6, fromRight: 6 }
            assert.deepStrictEqual(yield* pair.report, { ...counts, outcome: "reset" })
            assert.deepStrictEqual(pair.carried(), counts)
          })
        )

        test(
          `a reset of the ${first} side right behind unread data resets the other`,
          Effect.gen(function*() {
            const pair = yield* spliced()
            const [one, other] = sides(pair, first)
            one.client.socket.write(payload(1_000))
            one.client.reset()
            assert.strictEqual((yield* other.client.readAll).ending, "reset")
            assert.strictEqual((yield* pair.report).outcome, "reset")
          })
        )

        test(
          `a reset of the ${first} side right behind unread data, after the other's FIN, resets the other`,
          Effect.gen(function*() {
            const pair = yield* spliced()
            const [one, other] = sides(pair, first)
            other.client.socket.end("request")
            yield* one.client.readAll
            yield* turns(20)
            one.client.socket.write("half a resp")
            one.client.reset()
            assert.strictEqual((yield* other.client.readAll).ending, "reset")
            assert.strictEqual((yield* pair.report).outcome, "reset")
          })
        )

        test(
          `a reset of the ${first} side after its own FIN resets the other`,
          Effect.gen(function*() {
            const pair = yield* spliced()
            const [one, other] = sides(pair, first)
            one.client.socket.end("request")
            yield* other.client.readAll
            one.client.reset()
            yield* eventually("the reset", () => {
              other.client.socket.write("response")
              return other.client.ending === "reset"
            })
            assert.strictEqual((yield* pair.report).outcome, "reset")
          })
        )

        test(
          `a reset of the ${first} side while the other does not read resets the other`,
          Effect.gen(function*() {
            const pair = yield* spliced(first === "left" ? { rightReads: false } : { leftReads: false })
            const [one, other] = sides(pair, first)
            one.client.socket.write(payload(1_000))
            yield* turns(20)
            one.client.reset()
            assert.strictEqual((yield* pair.report).outcome, "reset")
            other.client.startReading()
            assert.strictEqual((yield* other.client.readAll).ending, "reset")
          })
        )
      }

      test(
        "a reset before the splice began resets the other",
        Effect.gen(function*() {
          const listener = yield* listening()
          const gone = yield* arrived(listener)
          gone.client.reset()
          yield* hungUp(gone)
          for (const goneFirst of [true, false]) {
            const other = yield* arrived(listener)
            const gone = yield* arrived(listener, { behind: payload(100) })
            gone.client.socket.write(payload(100))
            gone.client.reset()
            yield* hungUp(gone)
            const { report } = goneFirst ? yield* splice(gone, other) : yield* splice(other, gone)
            assert.strictEqual((yield* other.client.readAll).ending, "reset")
            assert.strictEqual((yield* report).outcome, "reset")
          }
          const alsoGone = yield* arrived(listener)
          alsoGone.client.reset()
          yield* hungUp(alsoGone)
          assert.strictEqual((yield* (yield* splice(gone, alsoGone)).report).outcome, "reset")
        })
      )

      test(
        "a connection that was closed just before the splice ends it, with one report",
        Effect.gen(function*() {
          const listener = yield* listening()
          for (const closedFirst of [true, false]) {
            const closed = yield* arrived(listener)
            const other = yield* arrived(listener)
            yield* closed.connection.close
            const { report } = closedFirst ? yield* splice(closed, other) : yield* splice(other, closed)
            yield* report
            assert.strictEqual((yield* other.client.readAll).ending, "reset")
          }
        })
      )

      test(
        "closing right after a FIN has been passed on ends both",
        Effect.gen(function*() {
          const listener = yield* listening()
          for (const endedFirst of [true, false]) {
            for (const closeEnded of [true, false]) {
              const ended = yield* arrived(listener)
              const other = yield* arrived(listener)
              ended.client.socket.end()
              yield* hungUp(ended)
              const { report } = endedFirst ? yield* splice(ended, other) : yield* splice(other, ended)
              yield* (closeEnded ? ended : other).connection.close
              assert.strictEqual((yield* report).outcome, "closed")
              assert.strictEqual((yield* ended.client.readAll).ending, "reset")
            }
          }
        })
      )

      test(
        "a side that does not read stalls the sender, and everything arrives when it reads",
        Effect.gen(function*() {
          const pair = yield* spliced({ rightReads: false })
          const { carried, left, report, right } = pair
          const bytes = payload(heap)
          left.client.stream(bytes)
          yield* stalled(left.client)
          assert.isBelow(left.client.accepted, bytes.length)
          assert.isAbove(carried().fromLeft, 0)
          assert.isBelow(insideFromLeft(pair), keptMax)

          // The other direction is free, though this one is stuck.
          right.client.socket.write("still here")
          assert.strictEqual((yield* left.client.read(10)).toString(), "still here")

          right.client.startReading()
          assert.isTrue((yield* right.client.read(bytes.length)).equals(bytes))
          left.client.socket.end()
          right.client.socket.end()
          assert.deepStrictEqual(yield* report, { fromLeft: bytes.length, fromRight: 10, outcome: "completed" })
        })
      )

      test(
        "a stalled splice does not hold up another",
        Effect.gen(function*() {
          const stuck = yield* spliced({ rightReads: false })
          stuck.left.client.stream(payload(heap))
          yield* stalled(stuck.left.client)

          const { left, right } = yield* spliced()
          const bytes = payload(8 * mebibyte)
          left.client.socket.write(bytes)
          assert.isTrue((yield* right.client.read(bytes.length)).equals(bytes))
          right.client.socket.write(bytes)
          assert.isTrue((yield* left.client.read(bytes.length)).equals(bytes))
          assert.strictEqual(stuck.right.client.ending, undefined)
        })
      )

      test(
        "bulk both ways does not hold up small exchanges, nor they it",
        Effect.gen(function*() {
          const listener = yield* listening()
          const bulk = yield* bulkSplice(listener)
          const small = yield* Effect.replicateEffect(
            Effect.flatMap(
              Effect.all([arrived(listener), arrived(listener)]),
              ([left, right]) => splice(left, right)
            ),
            16
          )
          const flows = (before: Transport.Carried) =>
            eventually("more bulk, both ways", () => {
              const { fromLeft, fromRight } = bulk.carried()
              return Math.min(fromLeft - before.fromLeft, fromRight - before.fromRight) > 4 * mebibyte
            })
          yield* flows({ fromLeft: 0, fromRight: 0 })

          const before = bulk.carried()
          yield* Effect.forEach(small, ({ left, right }) =>
            Effect.gen(function*() {
              for (let trip = 0; trip < 100; trip++) {
                for (const [from, to] of [[left, right], [right, left]] as const) {
                  const bytes = payload(64)
                  from.client.socket.write(bytes)
                  assert.isTrue((yield* to.client.read(bytes.length)).equals(bytes))
                }
              }
            }), { concurrency: "unbounded", discard: true })
          const after = bulk.carried()
          assert.isAbove(after.fromLeft - before.fromLeft, mebibyte)
          assert.isAbove(after.fromRight - before.fromRight, mebibyte)
          for (const { carried } of small) {
            assert.deepStrictEqual(carried(), { fromLeft: 6_400, fromRight: 6_400 })
          }
          yield* flows(after)
        })
      )

      test(
        "a stalled sender's reset arrives behind its data",
        Effect.gen(function*() {
          const { left, report, right } = yield* spliced({ rightReads: false })
          left.client.stream(payload(heap))
          yield* stalled(left.client)
          left.client.reset()
          right.client.startReading()
          assert.strictEqual((yield* right.client.readAll).ending, "reset")
          assert.strictEqual((yield* report).outcome, "reset")
        })
      )

      test(
        "a reset of the side that does not read ends a stalled sender",
        Effect.gen(function*() {
          const { left, report, right } = yield* spliced({ rightReads: false })
          left.client.stream(payload(heap))
          yield* stalled(left.client)
          right.client.reset()
          assert.strictEqual((yield* left.client.readAll).ending, "reset")
          assert.strictEqual((yield* report).outcome, "reset")
        })
      )

      test(
        "keeps nothing of what it has carried",
        Effect.gen(function*() {
          const { left, right } = yield* spliced()
          const bytes = payload(4 * mebibyte)
          const before = bufferBytes()
          for (let time = 0; time < 8; time++) {
            left.client.socket.write(bytes)
            yield* right.client.read(bytes.length)
          }
          yield* eventually("freed buffers", () => bufferBytes() - before < 2 * bytes.length)
        })
      )

      test(
        "carried can be read while it runs, by side",
        Effect.gen(function*() {
          const { carried, left, right } = yield* spliced()
          assert.deepStrictEqual(carried(), { fromLeft: 0, fromRight: 0 })
          left.client.socket.write(payload(1_000))
          yield* right.client.read(1_000)
          assert.deepStrictEqual(carried(), { fromLeft: 1_000, fromRight: 0 })
          right.client.socket.write(payload(70_000))
          yield* left.client.read(70_000)
          assert.deepStrictEqual(carried(), { fromLeft: 1_000, fromRight: 70_000 })
          left.client.socket.write(payload(1))
          yield* right.client.read(1)
          assert.deepStrictEqual(carried(), { fromLeft: 1_001, fromRight: 70_000 })
        })
      )

      for (const ends of [true, false]) {
        test(
          `bytes behind urgent data arrive, ${ends ? "and the end behind them" : "though nothing follows them"}`,
          Effect.gen(function*() {
            const listener = yield* listening()
            // Within the first read of a splice, at the end of it, behind it, and where a pipe is used.
            for (const size of [0, 1, 1_000, 16_384, 16_385, 30_000, 40_000]) {
              // All of it waits when the splice begins, and no event tells of it later.
              const left = yield* arrived(listener)
              const [before, behind] = [ordinary(size), ordinary(1 + size % 10_000)]
              yield* sendUrgent(left.client, before)
              left.client.socket.write(behind)
              if (ends) {
                left.client.socket.end()
                yield* hungUp(left)
              }
              yield* eventually("all of it to be sent", () => {
                const at = kernelSocket(left.client.socket.localPort!, listener.port)
                return at === undefined || at.sending === 0
              })
              const right = yield* arrived(listener)
              const { report } = yield* splice(left, right)
              right.client.socket.end()
              const sent = Buffer.concat([before, behind])
              let received = Buffer.alloc(0)
              while (received.length < sent.length) {
                received = withoutUrgent(Buffer.concat([received, yield* right.client.read(1), right.client.rest()]))
              }
              assert.isTrue(received.equals(sent))
              left.client.socket.end()
              assert.strictEqual((yield* right.client.readAll).ending, "end")
              assert.strictEqual((yield* report).outcome, "completed")
            }
          })
        )
      }

      test(
        "bytes behind urgent data arrive that come with their end, when the other side has ended before",
        Effect.gen(function*() {
          for (const first of ["left", "right"] as const) {
            const pair = yield* spliced()
            const [one, other] = sides(pair, first)
            other.client.socket.end()
            assert.strictEqual((yield* one.client.readAll).ending, "end")
            const [before, behind] = [ordinary(1_000), ordinary(20_000)]
            sendUrgentAndEnd(one.client.socket, before, behind)
            const { bytes, ending } = yield* other.client.readAll
            assert.strictEqual(ending, "end")
            assert.isTrue(withoutUrgent(bytes).equals(Buffer.concat([before, behind])), `${bytes.length} bytes`)
            assert.strictEqual((yield* pair.report).outcome, "completed")
          }
        })
      )

      test(
        "bytes among urgent data arrive while they are carried",
        Effect.gen(function*() {
          const pair = yield* spliced()
          for (const first of ["left", "right"] as const) {
            const [one, other] = sides(pair, first)
            const sent: Array<Uint8Array> = []
            for (let piece = 0; piece < 40; piece++) {
              const bytes = ordinary(piece * 7_919 % (piece % 2 === 0 ? 20_000 : 600_000))
              sent.push(bytes)
              yield* sendUrgent(one.client, bytes)
            }
            one.client.socket.end()
            const { bytes, ending } = yield* other.client.readAll
            assert.strictEqual(ending, "end")
            assert.isTrue(withoutUrgent(bytes).equals(Buffer.concat(sent)))
          }
          assert.strictEqual((yield* pair.report).outcome, "completed")
        })
      )

      test(
        "a reader slower than lingerTimeoutMs and idleTimeoutMs gets everything, for it never pauses",
        Effect.gen(function*() {
          const bytes = payload(mebibyte)
          yield* Effect.forEach(["linger", "idle"] as const, (which) =>
            Effect.gen(function*() {
              const ms = 1_500
              const pair = yield* spliced(
                which === "linger"
                  ? { lingerTimeoutMs: ms, rightReads: false }
                  : { idleTimeoutMs: ms, rightReads: false }
              )
              const { left, right } = pair
              left.client.socket.write(bytes)
              if (which === "linger") {
                left.client.socket.end()
              }
              // From here on the transport has nothing to move; what it has moved waits in the kernel.
              yield* eventually("all of it to be taken", () => pair.carried().fromLeft === bytes.length)
              const began = Date.now()
              const received: Array<Buffer> = []
              while (Date.now() - began < 2.5 * ms) {
                yield* Effect.sleep(50)
                const piece = right.client.socket.read(8 * 1024) as Buffer | null
                if (piece !== null) {
                  received.push(piece)
                }
                assert.isUndefined(right.client.ending)
              }
              // Else it has been faster than was meant.
              assert.isBelow(Buffer.concat(received).length, bytes.length)
              right.client.startReading()
              received.push(yield* right.client.read(bytes.length - Buffer.concat(received).length))
              assert.isTrue(Buffer.concat(received).equals(bytes))
            }), { concurrency: "unbounded", discard: true })
        })
      )

      test(
        "lingerTimeoutMs: a half-closed splice ends after so long without a byte",
        Effect.gen(function*() {
          for (const first of ["left", "right"] as const) {
            const pair = yield* spliced({ lingerTimeoutMs: 60 })
            const [one, other] = sides(pair, first)
            const began = Date.now()
            one.client.socket.end()
            assert.strictEqual((yield* pair.report).outcome, "lingered")
            assert.isAtLeast(Date.now() - began, 55)
            assert.strictEqual((yield* one.client.readAll).ending, "reset")
            yield* other.client.wasReset
          }
        })
      )

      test(
        "lingerTimeoutMs: does not run before a side's FIN",
        Effect.gen(function*() {
          const { left, report, right } = yield* spliced({ lingerTimeoutMs: 50 })
          yield* Effect.sleep(150)
          yield* echoes(left, right)
          right.client.socket.end()
          assert.strictEqual((yield* report).outcome, "lingered")
        })
      )

      test(
        "lingerTimeoutMs: a byte starts it again",
        Effect.gen(function*() {
          const { left, report, right } = yield* spliced({ lingerTimeoutMs: 1_200 })
          left.client.socket.end()
          const last = yield* trickle(right, left, 1_500)
          assert.strictEqual((yield* report).outcome, "lingered")
          assert.isAtLeast(Date.now() - last, 1_190)
        })
      )

      test(
        "lingerTimeoutMs: ends a half-closed splice whose other side does not read",
        Effect.gen(function*() {
          const { left, report, right } = yield* spliced({ lingerTimeoutMs: 100, rightReads: false })
          const bytes = payload(heap)
          left.client.socket.end(bytes)
          right.client.socket.end()
          assert.strictEqual((yield* report).outcome, "lingered")
          right.client.startReading()
          const got = yield* right.client.readAll
          assert.strictEqual(got.ending, "reset")
          assert.isBelow(got.bytes.length, bytes.length)
        })
      )

      test(
        "idleTimeoutMs: an open splice ends after so long without a byte",
        Effect.gen(function*() {
          const began = Date.now()
          const { left, report, right } = yield* spliced({ idleTimeoutMs: 60 })
          assert.strictEqual((yield* report).outcome, "idle")
          assert.isAtLeast(Date.now() - began, 55)
          assert.strictEqual((yield* left.client.readAll).ending, "reset")
          assert.strictEqual((yield* right.client.readAll).ending, "reset")
        })
      )

      test(
        "idleTimeoutMs: a byte starts it again, from either side",
        Effect.gen(function*() {
          const { left, report, right } = yield* spliced({ idleTimeoutMs: 1_200 })
          yield* trickle(left, right, 1_500)
          const last = yield* trickle(right, left, 1_500)
          assert.strictEqual((yield* report).outcome, "idle")
          assert.isAtLeast(Date.now() - last, 1_190)
        })
      )

      test(
        "idleTimeoutMs: ends a stalled splice",
        Effect.gen(function*() {
          const { left, report, right } = yield* spliced({ idleTimeoutMs: 100, rightReads: false })
          left.client.stream(payload(heap))
          assert.strictEqual((yield* report).outcome, "idle")
          assert.strictEqual((yield* left.client.readAll).ending, "reset")
          right.client.startReading()
          assert.strictEqual((yield* right.client.readAll).ending, "reset")
        })
      )

      test(
        "idleTimeoutMs: gives way to lingerTimeoutMs once half-closed",
        Effect.gen(function*() {
          const listener = yield* listening()
          const left = yield* arrived(listener)
          left.client.socket.end()
          yield* hungUp(left)
          const right = yield* arrived(listener)
          const began = Date.now()
          const { report } = yield* splice(left, right, { idleTimeoutMs: 30, lingerTimeoutMs: 120 })
          assert.strictEqual((yield* report).outcome, "lingered")
          assert.isAtLeast(Date.now() - began, 115)
        })
      )

      for (const first of ["left", "right"] as const) {
        for (
          const [state, options, prepare] of [
            ["that is open", {}, ({ left, right }: Spliced): Effect.Effect<unknown> => echoes(left, right)],
            ["that has not carried anything", {}, () => Effect.void],
            [
              "that is stalled",
              { rightReads: false },
              ({ left }: Spliced) =>
                Effect.zipRight(Effect.sync(() => left.client.stream(payload(heap))), stalled(left.client))
            ],
            [
              "that is half-closed",
              {},
              ({ left, right }: Spliced) =>
                Effect.zipRight(Effect.sync(() => left.client.socket.end()), right.client.readAll)
            ],
            ["that is half-closed behind a stall", { rightReads: false }, ({ left }: Spliced) =>
              Effect.zipRight(
                Effect.sync(() => left.client.socket.end(payload(heap))),
                turns(50)
              )]
          ] as const
        ) {
          test(
            `closing the ${first} connection of a splice ${state} resets both`,
            Effect.gen(function*() {
              const before = openSockets()
              const pair = yield* spliced(options)
              yield* prepare(pair)
              const [one] = sides(pair, first)
              yield* one.connection.close
              assert.strictEqual((yield* pair.report).outcome, "closed")
              yield* pair.left.connection.close
              yield* pair.right.connection.close
              yield* eventually("two closed descriptors", () => openSockets() <= before + 3)
              for (const { client } of [pair.left, pair.right]) {
                client.startReading()
                yield* client.readAll
                yield* client.wasReset
              }
            })
          )
        }
      }

      test(
        "200 splices that end in every way give back every descriptor",
        Effect.gen(function*() {
          const listener = yield* listening()
          const before = openSockets()
          const random = generator(20_240_607)
          const ways = Object.entries(waysToEnd)
          const order = Array.from({ length: 200 }, (_, index) => ({
            at: random(),
            mirrored: random() < 0.5,
            way: ways[index % ways.length]!
          })).sort((one, other) => one.at - other.at)
          yield* Effect.forEach(order, ({ mirrored, way: [name, way] }) =>
            Effect.gen(function*() {
              const one = yield* arrived(listener)
              const other = yield* arrived(listener, { reading: way.otherReads ?? true })
              yield* way.before?.(one, other) ?? Effect.void
              const { report } = yield* mirrored ? splice(other, one, way.options) : splice(one, other, way.options)
              yield* way.after?.(one, other) ?? Effect.void
              assert.strictEqual((yield* report).outcome, way.outcome, name)
            }).pipe(Effect.scoped), { concurrency: 8, discard: true })
          yield* eventually(`${before} open sockets`, () => openSockets() === before)
        })
      )
    })

    describe("rates", () => {
      test(
        "bytes of both sides arrive complete, each behind the other's half-close, and no sooner than the rate allows",
        Effect.gen(function*() {
          const bytesPerSecond = 8 * mebibyte
          const { left, report, right } = yield* spliced({ rates: [Rate.make(bytesPerSecond)] })
          const [fromLeft, fromRight] = [payload(4 * mebibyte), payload(3 * mebibyte)]
          const began = performance.now()
          left.client.socket.end(fromLeft)
          right.client.socket.end(fromRight)
          const [atLeft, atRight] = yield* Effect.all([left.client.readAll, right.client.readAll], {
            concurrency: "unbounded"
          })
          const seconds = (performance.now() - began) / 1_000
          assert.deepStrictEqual([atLeft.ending, atRight.ending], ["end", "end"])
          assert.strictEqual(sha256(atLeft.bytes), sha256(fromRight))
          assert.strictEqual(sha256(atRight.bytes), sha256(fromLeft))
          assert.deepStrictEqual(yield* report, {
            fromLeft: fromLeft.length,
            fromRight: fromRight.length,
            outcome: "completed"
          })
          assert.isAtLeast(seconds, (fromLeft.length + fromRight.length) / bytesPerSecond - burst)
        })
      )

      test(
        "a response comes at the rate when the request's side is closed",
        Effect.gen(function*() {
          const { left, report, right } = yield* spliced({ rates: [Rate.make(4 * mebibyte)] })
          const response = payload(2 * mebibyte)
          left.client.socket.end("request")
          assert.strictEqual((yield* right.client.readAll).bytes.toString(), "request")
          const began = performance.now()
          right.client.socket.end(response)
          const got = yield* left.client.readAll
          assert.isTrue(got.bytes.equals(response))
          assert.strictEqual(got.ending, "end")
          assert.isAtLeast((performance.now() - began) / 1_000, 0.5 - burst)
          assert.strictEqual((yield* report).outcome, "completed")
        })
      )

      test(
        "a splice keeps to its rate, both sides together, and they share it",
        Effect.gen(function*() {
          const pair = yield* spliced({ ...greedy, rates: [Rate.make(megabyte)] })
          yield* pumpBothWays(pair)
          const [carried] = yield* flow([pair])
          holds(sum(carried), carried.seconds, megabyte)
          assert.isAbove(Math.min(carried.fromLeft, carried.fromRight), sum(carried) / 4)
        })
      )

      test(
        "splices that share a rate keep to it together, and get equal shares",
        Effect.gen(function*() {
          const options = { ...greedy, rates: [Rate.make(4 * megabyte)] }
          const pairs = [yield* spliced(options), yield* spliced(options), yield* spliced(options)]
          yield* Effect.forEach(pairs, ({ left, right }) => pump(left.client, right.client))
          const flows = yield* flow(pairs)
          const all = flows.reduce((all, { fromLeft }) => all + fromLeft, 0)
          holds(all, flows[0].seconds, 4 * megabyte)
          for (const { fromLeft } of flows) {
            assert.isAbove(fromLeft, all / 6)
          }
        })
      )

      test(
        "a splice keeps to each of its rates",
        Effect.gen(function*() {
          const [own, shared] = [Rate.make(megabyte), Rate.make(4 * megabyte)]
          const narrow = yield* spliced({ ...greedy, rates: [shared, own] })
          const wide = yield* spliced({ ...greedy, rates: [shared] })
          yield* Effect.forEach([narrow, wide], ({ left, right }) => pump(left.client, right.client))
          const [inNarrow, inWide] = yield* flow([narrow, wide])
          holds(inNarrow.fromLeft, inNarrow.seconds, megabyte)
          holds(inNarrow.fromLeft + inWide.fromLeft, inWide.seconds, 4 * megabyte)
          assert.isAbove(inWide.fromLeft, 1.5 * inNarrow.fromLeft)
        })
      )

      for (const [how, to] of [["raised", 64 * megabyte], ["lifted", undefined]] as const) {
        test(
          `a rate that is ${how} lets a running splice go`,
          Effect.gen(function*() {
            const rate = Rate.make(1_000)
            const { carried, left, right } = yield* spliced({ rates: [rate] })
            const bytes = payload(8 * mebibyte)
            left.client.socket.write(bytes)
            yield* right.client.read(1_000)
            yield* turns(20)
            assert.isBelow(carried().fromLeft, 100_000)
            rate.set(to)
            assert.isTrue((yield* right.client.read(bytes.length - 1_000)).equals(bytes.subarray(1_000)))
          })
        )
      }

      for (const [how, from] of [["lowered", 400 * megabyte], ["set", undefined]] as const) {
        test(
          `a rate that is ${how} holds for a running splice`,
          Effect.gen(function*() {
            const rate = Rate.make(from)
            const pair = yield* spliced({ ...greedy, rates: [rate] })
            yield* pumpBothWays(pair)
            yield* eventually("a flow", () => Math.min(...Object.values(pair.carried())) > 4 * mebibyte)
            rate.set(2 * megabyte)
            const [carried] = yield* flow([pair])
            // What either direction was taking just then, by the rate of before.
            const before = 2 * mebibyte
            assert.isAtMost(sum(carried), (carried.seconds + burst) * 2 * megabyte + before)
            assert.isAtLeast(sum(carried), reached * 2 * megabyte)
          })
        )
      }

      test(
        "a running splice that began without rates is put under one",
        Effect.gen(function*() {
          const pair = yield* spliced(greedy)
          yield* pumpBothWays(pair)
          yield* eventually("a flow", () => Math.min(...Object.values(pair.carried())) > 4 * mebibyte)
          pair.limit([Rate.make(2 * megabyte)])
          // A worker hears of it while both directions still go as fast as they can.
          let before = { at: performance.now(), bytes: Infinity }
          yield* eventually("a slower flow", () => {
            const now = { at: performance.now(), bytes: sum(pair.carried()) }
            if (now.at - before.at < 100) {
              return false
            }
            const bytesPerMs = (now.bytes - before.bytes) / (now.at - before.at)
            before = now
            return bytesPerMs >= 0 && bytesPerMs < 4 * megabyte / 1_000
          })
          const [carried] = yield* flow([pair])
          assert.isAtMost(sum(carried), (carried.seconds + burst) * 2 * megabyte + 2 * mebibyte)
          assert.isAtLeast(sum(carried), reached * 2 * megabyte)
        })
      )

      test(
        "a splice that carries little has its turns though others want all of its rate",
        Effect.gen(function*() {
          const options = { rates: [Rate.make(megabyte)] }
          const bulk = [yield* spliced({ ...options, ...greedy }), yield* spliced({ ...options, ...greedy })]
          yield* Effect.forEach(bulk, pumpBothWays)
          const { left, right } = yield* spliced(options)
          const tripMs: Array<number> = []
          for (let trip = 0; trip < 10; trip++) {
            const began = performance.now()
            yield* echoes(left, right)
            tripMs.push(performance.now() - began)
          }
          // Two turns; what a busy machine adds to some is beside the point.
          tripMs.sort((one, other) => one - other)
          assert.isBelow(tripMs[5]!, 400)
        })
      )

      test(
        "a splice that waits for its rate is not idle",
        Effect.gen(function*() {
          const listener = yield* listening()
          const bytes = payload(16_000)
          const left = yield* arrived(listener, { behind: bytes })
          const right = yield* arrived(listener)
          // A piece comes every 100 ms or so.
          const { report } = yield* splice(left, right, { idleTimeoutMs: 30, rates: [Rate.make(20_000)] })
          assert.isTrue((yield* right.client.read(bytes.length)).equals(bytes))
          assert.deepStrictEqual(yield* report, { fromLeft: bytes.length, fromRight: 0, outcome: "idle" })
        })
      )

      test(
        "a half-closed splice that waits for its rate does not linger",
        Effect.gen(function*() {
          const listener = yield* listening()
          const bytes = payload(16_000)
          const left = yield* arrived(listener, { behind: bytes })
          const right = yield* arrived(listener)
          const { report } = yield* splice(left, right, { lingerTimeoutMs: 30, rates: [Rate.make(20_000)] })
          right.client.socket.end()
          yield* left.client.readAll
          left.client.socket.end()
          const got = yield* right.client.readAll
          assert.isTrue(got.bytes.equals(bytes))
          assert.strictEqual(got.ending, "end")
          assert.deepStrictEqual(yield* report, { fromLeft: bytes.length, fromRight: 0, outcome: "completed" })
        })
      )

      test(
        "a splice under a rate that its receiver stalls is idle",
        Effect.gen(function*() {
          const { left, report } = yield* spliced({
            idleTimeoutMs: 200,
            rates: [Rate.make(64 * megabyte)],
            rightReads: false
          })
          left.client.stream(payload(heap))
          assert.strictEqual((yield* report).outcome, "idle")
        })
      )

      for (const first of ["left", "right"] as const) {
        test(
          `closing the ${first} connection of a splice that waits for its rate resets both at once, and nothing waits on`,
          Effect.gen(function*() {
            const before = timers()
            const pair = yield* spliced({ rates: [dripping()] })
            pair.left.client.socket.write(payload(10_000))
            pair.right.client.socket.write(payload(10_000))
            yield* eventually("a first piece", () => sum(pair.carried()) > 0)
            const [one] = sides(pair, first)
            yield* one.connection.close
            assert.strictEqual((yield* pair.report).outcome, "closed")
            assert.isBelow(sum(pair.carried()), 10_000)
            assert.strictEqual((yield* pair.left.client.readAll).ending, "reset")
            assert.strictEqual((yield* pair.right.client.readAll).ending, "reset")
            yield* eventually("no more timers than before", () => timers() <= before)
          })
        )

        test(
          `a reset of the ${first} side ends a splice whose other side waits for its rate, and nothing waits on`,
          Effect.gen(function*() {
            const before = timers()
            const pair = yield* spliced({ rates: [dripping()] })
            const [one, other] = sides(pair, first)
            other.client.socket.write(payload(10_000))
            yield* one.client.read(1)
            one.client.reset()
            assert.strictEqual((yield* pair.report).outcome, "reset")
            assert.strictEqual((yield* other.client.readAll).ending, "reset")
            yield* eventually("no more timers than before", () => timers() <= before)
          })
        )
      }

      test(
        "a receiver that does not read stalls a sender under a rate, and everything arrives when it reads",
        Effect.gen(function*() {
          const pair = yield* spliced({ rates: [Rate.make(32 * megabyte)], rightReads: false })
          const { left, report, right } = pair
          const bytes = payload(heap)
          left.client.stream(bytes)
          yield* stalled(left.client)
          assert.isBelow(left.client.accepted, bytes.length)
          assert.isBelow(insideFromLeft(pair), keptMax)
          assert.isBelow(untaken(pair), keptMax)
          right.client.startReading()
          assert.isTrue((yield* right.client.read(bytes.length)).equals(bytes))
          left.client.socket.end()
          right.client.socket.end()
          assert.deepStrictEqual(yield* report, { fromLeft: bytes.length, fromRight: 0, outcome: "completed" })
        })
      )

      test(
        "a rate stalls a sender, and little is kept",
        Effect.gen(function*() {
          const rate = Rate.make(1)
          const pair = yield* spliced({ rates: [rate] })
          const bytes = payload(heap)
          pair.left.client.stream(bytes)
          yield* stalled(pair.left.client)
          assert.isBelow(pair.left.client.accepted, bytes.length)
          assert.isBelow(untaken(pair), keptMax)
          rate.set(undefined)
          assert.isTrue((yield* pair.right.client.read(bytes.length)).equals(bytes))
        })
      )
    })
  })
}

const megabyte = 1_000_000

/** What a rate lets through at once, in seconds of it, and how much of it a busy machine has to reach. */
const burst = 0.21
const reached = 0.5

const sum = ({ fromLeft, fromRight }: Transport.Carried) => fromLeft + fromRight

/** Whose second piece comes after minutes. */
const dripping = () => Rate.make(1)

/** For splices that are pumped through. */
const greedy = { leftReads: false, rightReads: false }

const pumpBothWays = ({ left, right }: Spliced) =>
  Effect.zipRight(pump(left.client, right.client), pump(right.client, left.client))

interface Flow extends Transport.Carried {
  /** Not less than it took. */
  readonly seconds: number
}

/** What splices carry in a second, once all of them carry something. */
const flow = (pairs: ReadonlyArray<Spliced>) =>
  Effect.gen(function*() {
    const counts = () => pairs.map(({ carried }) => carried())
    yield* eventually("a flow", () => counts().every(({ fromLeft }) => fromLeft > 0))
    const began = performance.now()
    const before = counts()
    yield* Effect.sleep("1 second")
    const after = counts()
    const seconds = (performance.now() - began) / 1_000
    return after.map(({ fromLeft, fromRight }, index): Flow => ({
      fromLeft: fromLeft - before[index]!.fromLeft,
      fromRight: fromRight - before[index]!.fromRight,
      seconds
    })) as [Flow, Flow]
  })

const holds = (bytes: number, seconds: number, bytesPerSecond: number) => {
  assert.isAtMost(bytes, (seconds + burst) * bytesPerSecond)
  assert.isAtLeast(bytes, reached * bytesPerSecond)
}

/** Bytes from the left that are in this process and have not been taken yet. */
const untaken = ({ carried, left }: Spliced) => {
  const { localPort, remotePort } = left.client.socket
  const inSockets = kernelSocket(localPort!, remotePort!)!.sending + kernelSocket(remotePort!, localPort!)!.unread
  return left.client.accepted - inSockets - carried().fromLeft
}

const timers = () => process.getActiveResourcesInfo().filter((resource) => resource === "Timeout").length

/** Waits until a hang-up has been noticed. */
const hungUp = ({ connection }: Link) => Effect.async<void>((resume) => connection.onHangUp(() => resume(Effect.void)))

const sides = ({ left, right }: Spliced, first: "left" | "right") =>
  first === "left" ? [left, right] as const : [right, left] as const

/** Six bytes there and six back. */
const echoes = (one: Link, other: Link) =>
  Effect.gen(function*() {
    one.client.socket.write("there!")
    assert.strictEqual((yield* other.client.read(6)).toString(), "there!")
    other.client.socket.write("back.!")
    assert.strictEqual((yield* one.client.read(6)).toString(), "back.!")
  })

/** Sends a byte every 15 ms and waits for it. Returns when the last one was sent, which is before it was carried. */
const trickle = (from: Link, to: Link, ms: number) =>
  Effect.gen(function*() {
    const until = Date.now() + ms
    let sentAt = Date.now()
    while (Date.now() < until) {
      sentAt = Date.now()
      from.client.socket.write("x")
      yield* to.client.read(1)
      yield* Effect.sleep(15)
    }
    return sentAt
  })

const readDuplex = (duplex: Duplex, count: number) =>
  Effect.gen(function*() {
    const chunks: Array<Buffer> = []
    let bytes = 0
    yield* eventually(`${count} bytes`, () => {
      for (let chunk: Buffer | null; (chunk = duplex.read()) !== null;) {
        chunks.push(chunk)
        bytes += chunk.length
      }
      return bytes >= count
    })
    assert.strictEqual(bytes, count)
    return Buffer.concat(chunks)
  })

const sha256 = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex")

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
const generator = (seed: number) => () => {
  seed = (seed + 0x6d2b79f5) | 0
  let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed)
  mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
  return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
}

interface Way {
  readonly outcome: Transport.SpliceOutcome
  readonly options?: Partial<Transport.SpliceOptions>
  /** False: the other client does not read. */
  readonly otherReads?: boolean
  /** Before the splice. */
  readonly before?: (one: Link, other: Link) => Effect.Effect<unknown>
  readonly after?: (one: Link, other: Link) => Effect.Effect<unknown>
}

const waysToEnd: Record<string, Way> = {
  "one after the other": {
    outcome: "completed",
    after: (one, other) =>
      Effect.gen(function*() {
        one.client.socket.end(payload(100_000))
        yield* other.client.readAll
        other.client.socket.end(payload(100_000))
        yield* one.client.readAll
      })
  },
  "both at once": {
    outcome: "completed",
    after: (one, other) =>
      Effect.sync(() => {
        one.client.socket.end(payload(10_000))
        other.client.socket.end(payload(10_000))
      })
  },
  "both before": {
    outcome: "completed",
    before: (one, other) =>
      Effect.gen(function*() {
        one.client.socket.end()
        other.client.socket.end()
        yield* hungUp(one)
        yield* hungUp(other)
      })
  },
  "reset": { outcome: "reset", after: (one) => Effect.sync(() => one.client.reset()) },
  "reset behind data": {
    outcome: "reset",
    after: (one) =>
      Effect.sync(() => {
        one.client.socket.write(payload(10_000))
        one.client.reset()
      })
  },
  "reset before": {
    outcome: "reset",
    before: (one) => Effect.zipRight(Effect.sync(() => one.client.reset()), hungUp(one))
  },
  "reset of both": {
    outcome: "reset",
    after: (one, other) =>
      Effect.sync(() => {
        one.client.reset()
        other.client.reset()
      })
  },
  "reset of a side that does not read": {
    outcome: "reset",
    otherReads: false,
    after: (one, other) =>
      Effect.gen(function*() {
        one.client.socket.write(payload(heap))
        yield* turns(10)
        other.client.reset()
      })
  },
  "linger": {
    outcome: "lingered",
    options: { lingerTimeoutMs: 20 },
    after: (one) => Effect.sync(() => one.client.socket.end())
  },
  "linger behind a stall": {
    outcome: "lingered",
    options: { lingerTimeoutMs: 20 },
    otherReads: false,
    after: (one, other) =>
      Effect.sync(() => {
        one.client.socket.end(payload(heap))
        other.client.socket.end()
      })
  },
  "idle": { outcome: "idle", options: { idleTimeoutMs: 20 } },
  "idle behind a stall": {
    outcome: "idle",
    options: { idleTimeoutMs: 20 },
    otherReads: false,
    after: (one) => Effect.sync(() => one.client.socket.write(payload(heap)))
  },
  "closed": { outcome: "closed", after: (one) => one.connection.close },
  "closed half-closed": {
    outcome: "closed",
    after: (one, other) =>
      Effect.gen(function*() {
        one.client.socket.end()
        yield* other.client.readAll
        yield* other.connection.close
      })
  },
  "closed behind a stall": {
    outcome: "closed",
    otherReads: false,
    after: (one) =>
      Effect.gen(function*() {
        one.client.socket.write(payload(heap))
        yield* turns(10)
        yield* one.connection.close
      })
  },
  "one after the other under a rate": {
    outcome: "completed",
    options: { rates: [Rate.make(2 * megabyte)] },
    after: (one, other) =>
      Effect.gen(function*() {
        one.client.socket.end(payload(100_000))
        yield* other.client.readAll
        other.client.socket.end(payload(100_000))
        yield* one.client.readAll
      })
  },
  "reset behind data under a rate": {
    outcome: "reset",
    options: { rates: [Rate.make(megabyte)] },
    after: (one) =>
      Effect.sync(() => {
        one.client.socket.write(payload(10_000))
        one.client.reset()
      })
  },
  "closed while it waits for its rate": {
    outcome: "closed",
    options: { rates: [Rate.make(1_000)] },
    after: (one) =>
      Effect.gen(function*() {
        one.client.socket.end(payload(100_000))
        yield* turns(10)
        yield* one.connection.close
      })
  },
  "closed half-closed behind a stall": {
    outcome: "closed",
    otherReads: false,
    after: (one) =>
      Effect.gen(function*() {
        one.client.socket.end(payload(heap))
        yield* turns(10)
        yield* one.connection.close
      })
  }
}
