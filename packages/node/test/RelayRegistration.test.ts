import { assert, describe, it } from "@effect/vitest"
import * as NodeConfig from "@tx3/node/NodeConfig"
import type { RegistrationError } from "@tx3/node/NodeError"
import * as RelayRegistration from "@tx3/node/RelayRegistration"
import * as Tx3Node from "@tx3/node/Tx3Node"
import type * as Address from "@tx3/protocol/Address"
import * as CertDigest from "@tx3/protocol/CertDigest"
import * as Handshake from "@tx3/protocol/Handshake"
import * as Identity from "@tx3/protocol/Identity"
import * as Tls from "@tx3/protocol/Tls"
import { Interfaces } from "@tx3/sockets/Interfaces"
import { Lookup, LookupError } from "@tx3/sockets/Lookup"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Mailbox from "effect/Mailbox"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/TestClock"
import { randomBytes } from "node:crypto"
import type { Socket } from "node:net"
import * as FakeRelay from "./utils/FakeRelay.js"
import { alice, bob, live, received, sendAll, taken, untilState } from "./utils/nodes.js"

const relayIdentity = await Effect.runPromise(Identity.generate)

const fakeRelay = FakeRelay.make({ identity: relayIdentity })

const quick: Partial<NodeConfig.NodeConfigOptions> = { reconnectMinMs: 10, reconnectMaxMs: 20 }

const boundAt = (relay: string | Address.Address, options?: Omit<Tx3Node.Options, "bind" | "identity">) =>
  Effect.provide(Tx3Node.make({ bind: [relay], identity: alice, ...options }), NodeConfig.layer(quick))

/** A node that is live at a relay, and the relay's end of its control stream. */
const liveAt = (relay: FakeRelay.FakeRelay) =>
  Effect.gen(function*() {
    const node = yield* boundAt(relay.address)
    const control = yield* relay.control
    control.write(FakeRelay.allClear)
    yield* RelayRegistration.untilLive(node.registrations[0]!)
    return { control, node }
  })

/** Bob's end of a connection that the node dialed back for. */
const peerOver = (socket: Socket) =>
  Effect.map(Handshake.connect(socket, Tls.secureContext(bob)), (secured) => {
    assert.strictEqual(secured.digest, alice.digest)
    return secured.socket
  })

describe("a registration", () => {
  live(
    "is connecting until the all-clear, then live; its address is the relay's with the node's digest",
    () =>
      Effect.gen(function*() {
        const relay = yield* fakeRelay
        const node = yield* boundAt(relay.address)
        assert.deepStrictEqual(node.addresses.map(String), [relay.address.withDigest(alice.digest).toString()])
        const { state } = node.registrations[0]!
        const control = yield* relay.control
        assert.deepStrictEqual(yield* state.get, RelayRegistration.State.Connecting({ attempt: 1 }))
        assert.isTrue(Option.contains(Tls.peerDigest(control), alice.digest))
        control.write(FakeRelay.allClear)
        yield* RelayRegistration.untilLive(node.registrations[0]!)
        assert.strictEqual((yield* state.get)._tag, "Live")
      })
  )

  live(
    "is lost with its relay, tries again until it is back on the same port, and is live again",
    () =>
      Effect.gen(function*() {
        const relayScope = yield* Scope.make()
        const relay = yield* Scope.extend(fakeRelay, relayScope)
        const { node } = yield* liveAt(relay)
        const states = yield* Mailbox.fromStream(node.registrations[0]!.state.changes)
        const next = Effect.map(states.take, (state) => state._tag === "Lost" ? state.because.reason : state)

        assert.strictEqual((yield* states.take)._tag, "Live")
        yield* Scope.close(relayScope, Exit.void)
        assert.strictEqual(yield* next, "lost")
        assert.deepStrictEqual(yield* next, RelayRegistration.State.Connecting({ attempt: 1 }))
        assert.strictEqual(yield* next, "unreachable")
        assert.deepStrictEqual(yield* next, RelayRegistration.State.Connecting({ attempt: 2 }))
        assert.strictEqual(yield* next, "unreachable")

        const back = yield* FakeRelay.make({ identity: relayIdentity, port: relay.address.port })
        const control = yield* back.control
        control.write(FakeRelay.allClear)
        yield* untilState(node, "Live")

        // Counted anew, since it has been live.
        control.destroy()
        while ((yield* states.take)._tag !== "Live") {
          // what came before
        }
        assert.strictEqual(yield* next, "lost")
        assert.deepStrictEqual(yield* next, RelayRegistration.State.Connecting({ attempt: 1 }))
      })
  )

  live(
    "registers again where a relay sends half a token and then ends, and dials nobody back",
    () =>
      Effect.gen(function*() {
        const relay = yield* fakeRelay
        const { control, node } = yield* liveAt(relay)
        control.write(randomBytes(16), () => control.destroy())
        const again = yield* relay.control
        again.write(FakeRelay.allClear)
        yield* untilState(node, "Live")
        assert.strictEqual(relay.accepted(), 2)
      })
  )

  it.effect("waits twice as long after each failure up to reconnectMaxMs, less up to a half at random", () =>
    Effect.gen(function*() {
      const relay = `tx3-rst://relay.test:1/${relayIdentity.digest}`
      const node = yield* Tx3Node.make({ bind: [relay] })
      const states = yield* Mailbox.fromStream(node.registrations[0]!.state.changes)
      const waits: Array<number> = []
      for (let attempt = 1; attempt <= 10; attempt++) {
        assert.deepStrictEqual(yield* states.take, RelayRegistration.State.Connecting({ attempt }))
        const lost = yield* states.take
        assert.strictEqual(lost._tag, "Lost")
        if (lost._tag === "Lost") {
          const wait = DateTime.toEpochMillis(lost.nextTryAt) - (yield* Clock.currentTimeMillis)
          waits.push(wait)
          yield* TestClock.adjust(wait - 1)
          assert.strictEqual((yield* node.registrations[0]!.state.get)._tag, "Lost")
          yield* TestClock.adjust(1)
        }
      }
      assert.deepStrictEqual(waits, [500, 500, 2000, 2000, 8000, 8000, 32_000, 30_000, 60_000, 30_000])
    }).pipe(
      Effect.scoped,
      Effect.provideService(Lookup, () => new LookupError({ cause: new Error("down") })),
      // All of the wait and half of it, in turns.
      Effect.withRandom(Random.fixed([1, 0]))
    ))
})

describe("a lost registration", () => {
  const lostForLong = Effect.gen(function*() {
    const node = yield* Tx3Node.make({ bind: [`tx3-rst://relay.test:1/${relayIdentity.digest}`] })
    const states = yield* Mailbox.fromStream(node.registrations[0]!.state.changes)
    assert.deepStrictEqual(yield* states.take, RelayRegistration.State.Connecting({ attempt: 1 }))
    assert.strictEqual((yield* states.take)._tag, "Lost")
    return states
  }).pipe(Effect.provide(NodeConfig.layer({ reconnectMinMs: 1_000_000, reconnectMaxMs: 2_000_000 })))

  it.effect("is tried again at once when the machine's addresses change", () => {
    const addresses = { eth0: ["192.0.2.1"], looks: 0 }
    return Effect.gen(function*() {
      const states = yield* lostForLong
      yield* TestClock.adjust(5_000)
      addresses.eth0 = []
      yield* TestClock.adjust(1_000)
      assert.deepStrictEqual(yield* states.take, RelayRegistration.State.Connecting({ attempt: 2 }))
      assert.strictEqual((yield* states.take)._tag, "Lost")
      addresses.eth0 = ["198.51.100.1"]
      yield* TestClock.adjust(1_000)
      assert.deepStrictEqual(yield* states.take, RelayRegistration.State.Connecting({ attempt: 3 }))
    }).pipe(
      Effect.scoped,
      Effect.provideService(Lookup, () => new LookupError({ cause: new Error("down") })),
      Effect.provideService(Interfaces, () => ({
        eth0: addresses.eth0.map((address) => ({ address, internal: false }) as never),
        lo: [{ address: String(addresses.looks++), internal: true } as never]
      }))
    )
  })

  it.effect("is tried again at once when the machine has slept", () =>
    Effect.gen(function*() {
      const clock = yield* Effect.clock
      let sleptMs = 0
      const withSleep = Object.assign(Object.create(clock), {
        currentTimeMillis: Effect.map(clock.currentTimeMillis, (now) => now + sleptMs)
      })
      const states = yield* Effect.withClock(lostForLong, withSleep)
      yield* TestClock.adjust(100_000)
      sleptMs = 60_000
      yield* TestClock.adjust(1_000)
      assert.deepStrictEqual(yield* states.take, RelayRegistration.State.Connecting({ attempt: 2 }))
    }).pipe(
      Effect.scoped,
      Effect.provideService(Lookup, () => new LookupError({ cause: new Error("down") })),
      Effect.provideService(Interfaces, () => ({}))
    ))
})

describe("a relay that accepts the node and soon drops it", () => {
  const at = (relay: FakeRelay.FakeRelay) =>
    Effect.gen(function*() {
      const node = yield* Tx3Node.make({ bind: [relay.address], identity: alice })
      const states = yield* Mailbox.fromStream(node.registrations[0]!.state.changes)
      const next = <Tag extends RelayRegistration.State["_tag"]>(tag: Tag) =>
        Effect.gen(function*() {
          while (true) {
            const state = yield* states.take
            if (RelayRegistration.State.$is(tag)(state)) {
              return state
            }
          }
        })
      const accepted = Effect.gen(function*() {
        const control = yield* relay.control
        control.write(FakeRelay.allClear)
        return { control, live: yield* next("Live") }
      })
      /** Why it was lost, and how long it waits, which is over then. */
      const lost = Effect.gen(function*() {
        const { because, nextTryAt } = yield* next("Lost")
        const wait = DateTime.toEpochMillis(nextTryAt) - (yield* Clock.currentTimeMillis)
        yield* TestClock.adjust(wait)
        return { because, wait }
      })
      return { accepted, lost, next }
    })

  const quietly = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    effect.pipe(
      Effect.scoped,
      Effect.provideService(Interfaces, () => ({})),
      // All of the wait.
      Effect.withRandom(Random.fixed([1]))
    )

  it.effect("is waited for longer each time, until a registration has lasted for reconnectStableMs", () =>
    quietly(Effect.gen(function*() {
      const { accepted, lost } = yield* at(yield* fakeRelay)
      const waits: Array<number> = []
      for (let time = 0; time < 4; time++) {
        const { control } = yield* accepted
        yield* TestClock.adjust(NodeConfig.defaults.reconnectStableMs - 1_000)
        control.destroy()
        waits.push((yield* lost).wait)
      }
      assert.deepStrictEqual(waits, [500, 1_000, 2_000, 4_000])
      const { control } = yield* accepted
      yield* TestClock.adjust(NodeConfig.defaults.reconnectStableMs)
      control.destroy()
      assert.strictEqual((yield* lost).wait, 500)
    })))

  it.effect("three times in a row is another machine with the same identity, until one has lasted", () =>
    quietly(Effect.gen(function*() {
      const relay = yield* fakeRelay
      const { accepted, lost, next } = yield* at(relay)
      for (const contested of [false, false, true, true]) {
        const { control, live } = yield* accepted
        assert.isUndefined(live.contested)
        control.destroy()
        const { because } = yield* lost
        assert.strictEqual(because.isContested, contested, because.message)
        if (contested) {
          assert.include(because.message, `${relay.address} has ended the registration`)
          assert.include(because.message, "another machine uses this identity")
          break
        }
      }
      const { live } = yield* accepted
      assert.isTrue(live.contested?.isContested)
      yield* TestClock.adjust(NodeConfig.defaults.reconnectStableMs)
      assert.isUndefined((yield* next("Live")).contested)
    })))

  it.effect("by a close_notify is told that another machine has the identity, and waits as long as it may", () =>
    quietly(Effect.gen(function*() {
      const relay = yield* fakeRelay
      const { accepted, lost } = yield* at(relay)
      const { control } = yield* accepted
      control.end()
      const { because, wait } = yield* lost
      assert.strictEqual(because.reason, "replaced")
      assert.isTrue(because.isContested)
      assert.strictEqual(
        because.message,
        `another machine uses this identity: it has registered at ${relay.address} in this node's place; ` +
          "stop the other, or give each machine an identity of its own (tx3 keygen FILE)"
      )
      assert.strictEqual(wait, NodeConfig.defaults.reconnectMaxMs)
      assert.strictEqual((yield* accepted).live.contested?.reason, "replaced")
    })))

  it.effect("by a reset is a network that fails, and no other machine", () =>
    quietly(Effect.gen(function*() {
      const relay = yield* fakeRelay
      const { accepted, lost } = yield* at(relay)
      for (let time = 0; time < 4; time++) {
        yield* accepted
        relay.resetAll()
        assert.isFalse((yield* lost).because.isContested)
      }
    })))
})

describe("a registration whose program has a bug", () => {
  const lostAndTriedAgain = Effect.gen(function*() {
    const node = yield* Tx3Node.make({ bind: [`tx3-rst://relay.test:1/${relayIdentity.digest}`] })
    const states = yield* Mailbox.fromStream(node.registrations[0]!.state.changes)
    const because: Array<RegistrationError["reason"]> = []
    for (const attempt of [1, 2, 3]) {
      assert.deepStrictEqual(yield* states.take, RelayRegistration.State.Connecting({ attempt }))
      const lost = yield* states.take
      assert(lost._tag === "Lost")
      because.push(lost.because.reason)
      yield* TestClock.adjust(DateTime.toEpochMillis(lost.nextTryAt) - (yield* Clock.currentTimeMillis))
    }
    return because
    // All of the wait.
  }).pipe(Effect.scoped, Effect.withRandom(Random.fixed([1])))

  it.effect("is tried again, and the bug is logged", () =>
    Effect.gen(function*() {
      const logged: Array<string> = []
      const because = yield* lostAndTriedAgain.pipe(
        Effect.provideService(Lookup, () => Effect.dieMessage("a bug")),
        Effect.provideService(Interfaces, () => ({})),
        Effect.provide(Logger.replace(
          Logger.defaultLogger,
          Logger.make(({ cause, logLevel }) => logLevel === LogLevel.Error && logged.push(Cause.pretty(cause)))
        ))
      )
      assert.deepStrictEqual(because, ["defect", "defect", "defect"])
      assert.isAtLeast(logged.length, 3)
      assert.include(logged[0], "a bug")
    }))

  it.effect("or whose machine does not let it list the interfaces is tried again", () =>
    Effect.gen(function*() {
      const because = yield* lostAndTriedAgain.pipe(
        Effect.provideService(Lookup, () => new LookupError({ cause: new Error("down") })),
        Effect.provideService(Interfaces, () => {
          throw new Error("A system error occurred: uv_interface_addresses returned Unknown system error 13")
        })
      )
      assert.deepStrictEqual(because, ["unreachable", "unreachable", "unreachable"])
    }))
})

describe("a relay that does not register the node", () => {
  const reasonOf = (relay: Address.Address) =>
    Effect.map(Effect.flip(boundAt(relay, { requireRegistration: true })), (error) => {
      assert.strictEqual(error._tag, "RegistrationError")
      assert.include(error.message, `${relay}`)
      return (error as RegistrationError).reason
    })

  /** What the node makes of a relay that does this with its control stream. */
  const reasonWhen = (play: (relay: FakeRelay.FakeRelay) => Effect.Effect<unknown, never, Scope.Scope>) =>
    Effect.gen(function*() {
      const relay = yield* fakeRelay
      yield* Effect.forkScoped(play(relay))
      return yield* reasonOf(relay.address)
    })

  live("closes after the preamble: refused", () =>
    Effect.gen(function*() {
      const relay = yield* FakeRelay.make({ identity: relayIdentity, refuses: true })
      assert.strictEqual(yield* reasonOf(relay.address), "refused")
    }))

  live("ends before the all-clear: full, with what to do", () =>
    Effect.gen(function*() {
      const reason = yield* reasonWhen((relay) => Effect.map(relay.control, (control) => control.end()))
      assert.strictEqual(reason, "full")
    }))

  live("resets before the all-clear: full", () =>
    Effect.gen(function*() {
      const reason = yield* reasonWhen((relay) => Effect.map(relay.control, (control) => control.destroy()))
      assert.strictEqual(reason, "full")
    }))

  live("sends another byte than the all-clear: violation", () =>
    Effect.gen(function*() {
      const reason = yield* reasonWhen((relay) =>
        Effect.map(relay.control, (control) => control.write(Uint8Array.of(1)))
      )
      assert.strictEqual(reason, "violation")
    }))

  live("sends nothing: silent", () =>
    Effect.gen(function*() {
      const { address } = yield* fakeRelay
      const error = yield* Tx3Node.make({ bind: [address], requireRegistration: true }).pipe(
        Effect.provide(NodeConfig.layer({ allClearTimeoutMs: 50 })),
        Effect.flip
      )
      assert.deepInclude(error, { _tag: "RegistrationError", reason: "silent" })
    }))

  live("is somebody else: untrusted", () =>
    Effect.gen(function*() {
      // It takes the digest for its own, and then shows another certificate.
      const relay = yield* FakeRelay.make({ identity: { ...bob, digest: relayIdentity.digest } })
      const error = yield* Effect.flip(boundAt(relay.address, { requireRegistration: true }))
      assert.deepInclude(error, { _tag: "RegistrationError", reason: "untrusted" })
      assert.include(error.message, `expected the certificate ${relayIdentity.digest}, but ${bob.digest} answered`)
    }))

  live("is not there: unreachable", () =>
    Effect.gen(function*() {
      const { address } = yield* Effect.scoped(fakeRelay)
      assert.strictEqual(yield* reasonOf(address), "unreachable")
    }))

  live("is a state like any other where registration is not required", () =>
    Effect.gen(function*() {
      const relay = yield* FakeRelay.make({ identity: relayIdentity, refuses: true })
      const node = yield* boundAt(relay.address)
      const error = yield* Effect.flip(RelayRegistration.untilLive(node.registrations[0]!))
      assert.strictEqual(error.reason, "refused")
    }))
})

describe("splice tokens", () => {
  live("each is the preamble of a connection that becomes an inbound one", () =>
    Effect.gen(function*() {
      const relay = yield* fakeRelay
      const { control, node } = yield* liveAt(relay)
      const token = randomBytes(32)
      control.write(token)
      const { preamble, socket } = yield* relay.dialBack
      assert.strictEqual(preamble, CertDigest.fromBytes(token))
      const peer = yield* peerOver(socket)
      const connection = yield* taken(node)
      assert.strictEqual(connection.remoteDigest, bob.digest)
      assert.deepStrictEqual(connection.remoteAddress, { host: "127.0.0.1", port: relay.address.port })
      peer.end("through the relay")
      assert.strictEqual((yield* received(connection)).toString(), "through the relay")
      yield* sendAll(connection, Buffer.from("and back"))
      const answer = yield* Effect.promise(async () => Buffer.concat(await peer.toArray()).toString())
      assert.strictEqual(answer, "and back")
    }))

  live("may come in any pieces", () =>
    Effect.gen(function*() {
      const relay = yield* fakeRelay
      const { control } = yield* liveAt(relay)
      const tokens = [randomBytes(32), randomBytes(32), randomBytes(32), randomBytes(32)]
      const bytes = Buffer.concat(tokens)
      const expected = new Set(tokens.map(CertDigest.fromBytes))
      control.write(bytes.subarray(0, 80))
      for (const _ of [1, 2]) {
        assert.isTrue(expected.delete(CertDigest.CertDigest.make((yield* relay.dialBack).preamble)))
      }
      control.write(bytes.subarray(80, 81))
      control.write(bytes.subarray(81))
      for (const _ of [3, 4]) {
        assert.isTrue(expected.delete(CertDigest.CertDigest.make((yield* relay.dialBack).preamble)))
      }
      assert.strictEqual(expected.size, 0)
    }))

  live("the all-clear and the first token may come at once", () =>
    Effect.gen(function*() {
      const relay = yield* fakeRelay
      yield* boundAt(relay.address)
      const token = randomBytes(32)
      const control = yield* relay.control
      control.write(Buffer.concat([FakeRelay.allClear, token]))
      assert.strictEqual((yield* relay.dialBack).preamble, CertDigest.fromBytes(token))
    }))

  live("peers that stall or are gone keep no other waiting, and the registration lives", () =>
    Effect.gen(function*() {
      const relay = yield* fakeRelay
      const { control, node } = yield* liveAt(relay)
      control.write(randomBytes(32))
      yield* relay.dialBack // says nothing more
      control.write(randomBytes(32))
      const gone = yield* relay.dialBack
      gone.socket.destroy()
      control.write(randomBytes(32))
      yield* peerOver((yield* relay.dialBack).socket)
      assert.strictEqual((yield* taken(node)).remoteDigest, bob.digest)
      assert.strictEqual((yield* node.registrations[0]!.state.get)._tag, "Live")
    }))

  live("dial back to the very relay they came from, whatever its name stands for now", () =>
    Effect.gen(function*() {
      const relay = yield* fakeRelay
      const asked: Array<string> = []
      const lookup = (host: string) => {
        asked.push(host)
        return Effect.succeed([{ address: "127.0.0.1", family: 4 }])
      }
      yield* boundAt(relay.address.toString().replace("127.0.0.1", "relay.test")).pipe(
        Effect.provideService(Lookup, lookup)
      )
      const control = yield* relay.control
      control.write(Buffer.concat([FakeRelay.allClear, randomBytes(32)]))
      yield* relay.dialBack
      assert.deepStrictEqual(asked, ["relay.test", "127.0.0.1"])
    }))

  live("connections outlive the registration they came through", () =>
    Effect.gen(function*() {
      const relay = yield* fakeRelay
      const { control, node } = yield* liveAt(relay)
      control.write(randomBytes(32))
      const peer = yield* peerOver((yield* relay.dialBack).socket)
      const connection = yield* taken(node)
      control.destroy()
      yield* relay.control
      peer.end("still here")
      assert.strictEqual((yield* received(connection)).toString(), "still here")
    }))
})

/** Waits until the other end has ended or reset a connection, with nothing done at this end. */
const gone = (socket: Socket) =>
  Effect.async<void>((resume) => {
    const onGone = () => resume(Effect.void)
    socket.resume().once("end", onGone).once("close", onGone)
  })

describe("the end of the node", () => {
  live("closes the control stream and what waits for its handshake", () =>
    Effect.gen(function*() {
      const relay = yield* fakeRelay
      const scope = yield* Scope.make()
      const { control } = yield* Scope.extend(liveAt(relay), scope)
      control.write(randomBytes(32))
      const { socket } = yield* relay.dialBack
      yield* Scope.close(scope, Exit.void)
      yield* gone(socket)
      yield* gone(control)
    }))
})
