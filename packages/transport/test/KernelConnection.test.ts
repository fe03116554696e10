import { Cause, Effect, Exit, Option } from "effect"
import { Duplex } from "node:stream"
import { assert, describe, it } from "vitest"
import type { AcceptingThread } from "../src/internal/kernelConnection.js"
import { KernelConnection } from "../src/internal/kernelConnection.js"
import type { Descriptor } from "../src/internal/system.js"

const socket = 99 as Descriptor
const preamble = "a preamble that is 32 bytes long"

/** A connection of a thread that only notes what it is asked for. */
class Fixture {
  readonly calls: Array<string> = []
  readonly connection: KernelConnection

  constructor() {
    const thread: AcceptingThread = {
      close: (connection) => this.calls.push(`close ${connection}`),
      closeSocket: (connection, socket) => this.calls.push(`closeSocket ${connection} ${socket}`),
      resetSocket: (connection, socket) => this.calls.push(`resetSocket ${connection} ${socket}`),
      toDuplex: (connection, socket) => {
        this.calls.push(`toDuplex ${connection} ${socket}`)
        return new Duplex()
      }
    }
    this.connection = new KernelConnection(thread, 7, "192.0.2.1", 4001, undefined)
    this.connection.onHangUp(() => this.calls.push("hang-up"))
  }

  readonly acts = {
    arrive: () => this.connection.arrive([socket, preamble]),
    toDuplex: () => {
      const duplex = run(this.connection.toDuplex)
      duplex.on("close", () => this.calls.push("duplex closed"))
    },
    join: () => assert.strictEqual(this.connection.join({ end: () => this.calls.push("end of the splice") }), socket),
    resetNow: () => this.connection.resetNow(),
    closeNow: () => this.connection.closeNow(),
    lost: () => this.connection.lost()
  }
}

type Act = keyof Fixture["acts"]

/** Runs it, and throws what it fails with. */
const run = <A, E>(effect: Effect.Effect<A, E>): A => {
  const exit = Effect.runSyncExit(effect)
  if (Exit.isSuccess(exit)) {
    return exit.value
  }
  throw Option.getOrElse<unknown, unknown>(Cause.failureOption(exit.cause), () => Cause.squash(exit.cause))
}

const waysInto = {
  "arriving": [],
  "arrived": ["arrive"],
  "handed over": ["arrive", "toDuplex"],
  "splicing": ["arrive", "join"],
  "closed": ["arrive", "closeNow"]
} as const satisfies Record<string, ReadonlyArray<Act>>

type State = keyof typeof waysInto

const into = (state: State) => {
  const fixture = new Fixture()
  for (const act of waysInto[state]) {
    fixture.acts[act]()
  }
  fixture.calls.length = 0
  return fixture
}

/** What each act does in each state: the calls that it makes, or the error. */
const expected: Record<State, Record<Act, ReadonlyArray<string> | string>> = {
  "arriving": {
    arrive: [],
    toDuplex: "a connection that is arriving cannot become handed over",
    join: "a connection that is arriving cannot become splicing",
    resetNow: ["close 7"],
    closeNow: ["close 7"],
    lost: ["hang-up"]
  },
  "arrived": {
    arrive: "a connection that is arrived cannot become arrived",
    toDuplex: ["toDuplex 7 99"],
    join: [],
    resetNow: ["resetSocket 7 99"],
    closeNow: ["closeSocket 7 99"],
    lost: ["hang-up", "closeSocket 7 99"]
  },
  "handed over": {
    arrive: "a connection that is handed over cannot become arrived",
    toDuplex: "a connection that is handed over cannot become handed over",
    join: "a connection that is handed over cannot become splicing",
    resetNow: ["duplex closed"],
    closeNow: ["duplex closed"],
    lost: []
  },
  "splicing": {
    arrive: "a connection that is splicing cannot become arrived",
    toDuplex: "a connection that is splicing cannot become handed over",
    join: "a connection that is splicing cannot become splicing",
    resetNow: ["end of the splice"],
    closeNow: ["end of the splice"],
    lost: []
  },
  "closed": {
    arrive: "a connection that is closed cannot become arrived",
    toDuplex: "the remote end hung up",
    join: "a connection that is closed cannot become splicing",
    resetNow: [],
    closeNow: [],
    lost: []
  }
}

describe("KernelConnection", () => {
  for (const [state, acts] of Object.entries(expected)) {
    for (const [act, outcome] of Object.entries(acts)) {
      it(`${state}, ${act}: ${typeof outcome === "string" ? outcome : outcome.join(", ") || "nothing more"}`, async () => {
        const fixture = into(state as State)
        try {
          if (typeof outcome === "string") {
            assert.throws(fixture.acts[act as Act], outcome)
            assert.deepStrictEqual(fixture.calls, [])
          } else {
            fixture.acts[act as Act]()
            await new Promise((resolve) => setImmediate(resolve))
            assert.deepStrictEqual(fixture.calls, outcome)
          }
        } finally {
          fixture.connection.closeNow()
        }
      })
    }
  }

  for (const end of ["closeNow", "lost"] as const) {
    it(`${end} ends a wait for the preamble, and one that comes later`, async () => {
      const { acts, connection } = into("arriving")
      const waiting = Effect.runPromise(Effect.flip(connection.preamble))
      acts[end]()
      assert.strictEqual((await waiting)._tag, "HungUp")
      assert.throws(() => run(connection.preamble), "the remote end hung up")
      const arrived = into("arrived")
      arrived.acts[end]()
      assert.throws(() => run(arrived.connection.preamble), "the remote end hung up")
    })
  }

  it("tells of a hang-up once, though a reset follows it, and knows of the reset", () => {
    const { calls, connection } = into("arrived")
    connection.remoteEnded(false)
    assert.isFalse(connection.failed)
    connection.remoteEnded(true)
    assert.isTrue(connection.failed)
    assert.deepStrictEqual(calls, ["hang-up"])
    assert.throws(() => run(connection.toDuplex), "the remote end hung up")
    assert.deepStrictEqual(Buffer.from(run(connection.preamble)), Buffer.from(preamble))
    connection.closeNow()
  })

  it("hears of nothing once a splice or Node has its socket", () => {
    for (const state of ["splicing", "handed over"] as const) {
      const { calls, connection } = into(state)
      connection.remoteEnded(true)
      assert.deepStrictEqual(calls, [])
      connection.closeNow()
    }
  })
})
