/** A worker's loop on a simulated kernel. Time is the test's, and so is the order of everything that happens. */
import { deadAfterMs, lookEveryMs } from "@tx3/sockets/TcpInfo"
import { afterEach, assert, describe, it } from "vitest"
import { Budget } from "../src/internal/budget.js"
import type { Report } from "../src/internal/kernelMessages.js"
import * as ProxyProtocol from "../src/internal/proxyProtocol.js"
import { generator } from "./utils/random.js"
import type { Limits } from "./utils/simulatedKernel.js"
import type { ArrivedPeer } from "./utils/simulatedWorker.js"
import { SimulatedWorker } from "./utils/simulatedWorker.js"

const preamble = Buffer.from("a preamble that is 32 bytes long")
const source = { host: "192.0.2.1", port: 4001 }

/** As in kernelArrivals.ts and kernelListeners.ts. */
const [reportWithinMs, unheardMax, pauseMs] = [5, 1024, 10]
const urgent = 0xff

/** Bytes that repeat only after 251, and among which an urgent one can be told. */
const repeated = Buffer.alloc(5 * 1024 * 1024, Uint8Array.from({ length: 251 }, (_, index) => index))
const pattern = (size: number, from = 0) => repeated.subarray(from % 251, from % 251 + size)
const withoutUrgent = (bytes: Buffer) => Buffer.from(bytes.filter((byte) => byte !== urgent))

let worker: SimulatedWorker

const start = (options: ConstructorParameters<typeof SimulatedWorker>[0] = {}) => {
  worker = new SimulatedWorker(options)
  assert.deepStrictEqual(worker.takeReports(), [])
  return worker
}

/** Two peers and their splice. */
const spliced = (options: Parameters<SimulatedWorker["splice"]>[3] = {}, limits: Partial<Limits> = {}) => {
  start(limits)
  const [left, right] = [worker.arrive(), worker.arrive()] as const
  worker.splice(0, left, right, options)
  assert.deepStrictEqual(worker.takeReports(), [])
  return { left: left.peer, right: right.peer }
}

const ended = (outcome: string): ReadonlyArray<Report> => [["ended", 0, outcome] as Report]

afterEach(() => worker.finish())

describe("dials", () => {
  const dial = (connection: number) => ["dial", connection, "192.0.2.7", 38143, preamble.toString("latin1")] as const

  it("send the first bytes, however the kernel takes them, and report the connection once", () => {
    start()
    worker.kernel.partly = () => 1
    worker.order(dial(511))
    const [report, ...rest] = worker.takeReports()
    assert.deepStrictEqual(rest, [])
    assert(report?.[0] === "dialed" && report[1] === 511)
    const [peer] = worker.kernel.dialed
    assert.strictEqual(peer!.bytes.toString(), preamble.toString())
    peer!.end()
    worker.settle()
    assert.deepStrictEqual(worker.takeReports(), [["hungUp", 511, false]])
    worker.closeArrived({ peer: peer!, connection: 511, socket: report[2][0] })
  })

  it("that are given up before they are reported leave no descriptor", () => {
    start()
    worker.order(dial(511), ["close", 511])
    assert.strictEqual(worker.kernel.dialed[0]!.ending, "end")
    assert.deepStrictEqual(worker.takeReports(), [])
  })

  it("fail with the system's error where there is no descriptor", () => {
    start({ descriptorsMax: 5 })
    worker.order(dial(511))
    assert.deepStrictEqual(worker.takeReports(), [["dialFailed", 511, -24]])
  })
})

describe("arrivals", () => {
  it("report a preamble that comes at once with the connection, and leave what follows it in the socket", () => {
    start()
    const { socket } = worker.arrive(pattern(100))
    const behind = new Uint8Array(200)
    assert.strictEqual(worker.main.receive(socket, behind), 100)
    worker.main.close(socket)
  })

  it("report a connection after 5 ms, and its preamble when the last of its pieces has come", () => {
    start()
    const peer = worker.connect()
    let sent = 0
    for (const [ms, bytes] of [[0, 0], [4, 1], [0, 20]] as const) {
      worker.pass(ms)
      peer.send(preamble.subarray(sent, sent + bytes))
      sent += bytes
      worker.settle()
      assert.deepStrictEqual(worker.takeReports(), [])
    }
    worker.pass(reportWithinMs - 4)
    const [accepted, ...rest] = worker.takeReports()
    assert.deepStrictEqual(rest, [])
    assert(accepted?.[0] === "accepted")
    assert.deepStrictEqual(accepted.slice(3), [source.host, source.port, undefined])
    worker.pass(3_600_000)
    peer.send(preamble.subarray(sent, 31))
    worker.settle()
    assert.deepStrictEqual(worker.takeReports(), [])
    peer.send(preamble.subarray(31))
    worker.settle()
    const [report] = worker.takeReports()
    assert(report?.[0] === "preamble" && report[1] === accepted[2])
    assert.strictEqual(report[2][1], preamble.toString("latin1"))
    worker.closeArrived({ peer, connection: report[1], socket: report[2][0] })
  })

  for (
    const [how, hangUp, failed, ending] of [
      ["a FIN", (peer: ArrivedPeer["peer"]) => peer.end(), false, "end"],
      ["a reset", (peer: ArrivedPeer["peer"]) => peer.reset(), true, undefined]
    ] as const
  ) {
    it(`report ${how} before the preamble as a hang-up, with the connection`, () => {
      start()
      const peer = worker.connect()
      peer.send(preamble.subarray(0, 31))
      worker.settle()
      hangUp(peer)
      worker.settle()
      const [accepted, hungUp, ...rest] = worker.takeReports()
      assert.deepStrictEqual(rest, [])
      assert(accepted?.[0] === "accepted" && accepted[5] === undefined)
      assert.deepStrictEqual(hungUp, ["hungUp", accepted[2], failed])
      worker.pass(60_000)
      assert.deepStrictEqual(worker.takeReports(), [])
      worker.order(["close", accepted[2]])
      assert.strictEqual(peer.ending, ending)
    })
  }

  for (
    const [how, hangUp, failed] of [
      ["a FIN", (peer: ArrivedPeer["peer"]) => peer.end(), false],
      ["a reset", (peer: ArrivedPeer["peer"]) => peer.reset(), true]
    ] as const
  ) {
    for (const bytes of [0, 31, 32, 33]) {
      it(`report ${how} that came with ${bytes} bytes before the connection was accepted`, () => {
        start()
        const peer = worker.connect()
        peer.send(pattern(bytes))
        hangUp(peer)
        worker.settle()
        const [accepted, hungUp, ...rest] = worker.takeReports()
        assert.deepStrictEqual(rest, [])
        assert(accepted?.[0] === "accepted")
        assert.strictEqual(accepted[5] !== undefined, bytes >= 32)
        assert.deepStrictEqual(hungUp, ["hungUp", accepted[2], failed])
        if (accepted[5] === undefined) {
          worker.order(["close", accepted[2]])
        } else {
          worker.closeArrived({ peer, connection: accepted[2], socket: accepted[5][0] })
        }
      })
    }
  }

  it("come in a burst of two hundred, and all are reported", () => {
    start()
    const peers = Array.from({ length: 200 }, () => worker.connect())
    peers.forEach((peer) => peer.send(preamble))
    worker.settle()
    const reports = worker.takeReports()
    assert.strictEqual(reports.filter(([kind]) => kind === "accepted").length, 200)
    reports.forEach((report, index) => {
      assert(report[0] === "accepted" && report[5] !== undefined)
      worker.closeArrived({ peer: peers[index]!, connection: report[2], socket: report[5][0] })
    })
  })

  it("report a FIN behind the preamble, and a reset behind the FIN", () => {
    start()
    const arrived = worker.arrive()
    arrived.peer.end()
    worker.settle()
    assert.deepStrictEqual(worker.takeReports(), [["hungUp", arrived.connection, false]])
    arrived.peer.reset()
    worker.settle()
    assert.deepStrictEqual(worker.takeReports(), [["hungUp", arrived.connection, true]])
    worker.closeArrived(arrived)
  })

  it("close one that is arriving when they are told to, and no other", () => {
    start()
    const [doomed, other] = [worker.connect(), worker.connect()]
    worker.pass(reportWithinMs)
    const [first, second] = worker.takeReports()
    assert(first?.[0] === "accepted" && second?.[0] === "accepted")
    worker.order(["close", first[2]])
    assert.deepStrictEqual([doomed.ending, other.ending], ["end", undefined])
    worker.order(["close", first[2]])
    worker.order(["close", second[2]])
    assert.strictEqual(other.ending, "end")
  })

  it("hear in one turn of the preamble and of the order to close, which comes too late", () => {
    start()
    const peer = worker.connect()
    worker.pass(reportWithinMs)
    const [accepted] = worker.takeReports()
    assert(accepted?.[0] === "accepted")
    worker.send(["close", accepted[2]])
    peer.send(preamble)
    worker.settle()
    const [report, ...rest] = worker.takeReports()
    assert.deepStrictEqual(rest, [])
    // The socket is the main thread's, which closes it.
    assert(report?.[0] === "preamble")
    assert.isUndefined(peer.ending)
    worker.closeArrived({ peer, connection: accepted[2], socket: report[2][0] })
  })

  it("forget a connection that becomes Node's, though its descriptor's number is used again", () => {
    start()
    const given = worker.arrive()
    worker.poll.unwatch(given.socket)
    given.peer.end()
    worker.order(["forget", given.connection])
    assert.deepStrictEqual(worker.takeReports(), [])
    worker.main.close(given.socket)
    const next = worker.arrive()
    assert.strictEqual(next.socket, given.socket)
    assert.notStrictEqual(next.connection, given.connection)
    worker.order(["forget", given.connection])
    next.peer.end()
    worker.settle()
    assert.deepStrictEqual(worker.takeReports(), [["hungUp", next.connection, false]])
    worker.closeArrived(next)
  })
})

describe("PROXY headers", () => {
  const headerTimeoutMs = 5_000
  const behindProxy = () => start({ proxies: { headerTimeoutMs, list: ProxyProtocol.listOf(["192.0.2.1"]) } })
  const header = Buffer.from("PROXY TCP4 198.51.100.7 192.0.2.2 4321 38141\r\n")

  /** The connection that has been reported, with its preamble, is closed. */
  const expectNamed = (peer: ArrivedPeer["peer"]) => {
    const [report, ...rest] = worker.takeReports()
    assert.deepStrictEqual(rest, [])
    assert(report?.[0] === "accepted" && report[5] !== undefined)
    assert.deepStrictEqual(report.slice(3, 5), ["198.51.100.7", 4321])
    assert.strictEqual(report[5][1], preamble.toString("latin1"))
    worker.closeArrived({ peer, connection: report[2], socket: report[5][0] })
  }

  it("may come in pieces, and the last with the preamble", () => {
    for (let split = 1; split < header.length; split++) {
      behindProxy()
      const peer = worker.connect()
      peer.send(header.subarray(0, split))
      worker.pass(headerTimeoutMs - 1)
      assert.deepStrictEqual(worker.takeReports(), [])
      peer.send(Buffer.concat([header.subarray(split), preamble]))
      worker.settle()
      expectNamed(peer)
      worker.pass(headerTimeoutMs)
      assert.deepStrictEqual(worker.takeReports(), [])
    }
  })

  it("are late after their time, and the connection is closed without being reported", () => {
    behindProxy()
    const peer = worker.connect()
    peer.send(header.subarray(0, 20))
    worker.pass(headerTimeoutMs - 1)
    assert.deepStrictEqual(worker.openKinds, ["event", "socket"])
    worker.pass(1)
    assert.deepStrictEqual(worker.takeReports(), [["refused", 1, source.host, ProxyProtocol.late(headerTimeoutMs)]])
    assert.strictEqual(peer.ending, "reset")
  })

  it("that are wrong, or that end with the connection, are refused; a connection without one is only closed", () => {
    behindProxy()
    const wrong = worker.connect()
    wrong.send(preamble)
    worker.settle()
    assert.deepStrictEqual(worker.takeReports(), [[
      "refused",
      1,
      source.host,
      "sent something else than a PROXY header"
    ]])
    const cut = worker.connect()
    cut.send(header.subarray(0, 20))
    cut.end()
    worker.settle()
    assert.deepStrictEqual(worker.takeReports(), [["refused", 1, source.host, ProxyProtocol.hungUp]])
    const silent = worker.connect()
    silent.end()
    const gone = worker.connect()
    gone.reset()
    worker.settle()
    assert.deepStrictEqual(worker.takeReports(), [])
  })

  it("are not awaited from others, nor any more once the listener stops", () => {
    behindProxy()
    const direct = worker.connect("192.0.2.9")
    direct.send(preamble)
    const waiting = worker.connect()
    waiting.send(header.subarray(0, 20))
    worker.settle()
    const [report, ...rest] = worker.takeReports()
    assert.deepStrictEqual(rest, [])
    assert(report?.[0] === "accepted" && report[5] !== undefined)
    assert.deepStrictEqual(report.slice(3, 5), ["192.0.2.9", source.port])
    worker.order(["stopAccepting", 1])
    assert.deepStrictEqual(worker.takeReports(), [["stoppedAccepting", 1]])
    assert.deepStrictEqual([direct.ending, waiting.ending], [undefined, "reset"])
    worker.connect()
    worker.settle()
    assert.deepStrictEqual(worker.takeReports(), [])
    worker.closeArrived({ peer: direct, connection: report[2], socket: report[5][0] })
  })
})

describe("listeners", () => {
  it("close what they have no descriptor for, and accept again when there is one", () => {
    // Three are the process's own; the listener and the spare descriptor take one each.
    start({ descriptorsMax: 3 + 2 + 2 })
    const kept = [worker.arrive(), worker.arrive()] as const
    const [one, other] = [worker.connect(), worker.connect()]
    worker.settle()
    assert.deepStrictEqual(worker.takeReports(), [["acceptFailed", 1, -24], ["acceptFailed", 1, -24]])
    assert.deepStrictEqual([one.ending, other.ending], ["end", "end"])
    // Nothing else is tried until another waits.
    worker.pass(60_000)
    assert.deepStrictEqual(worker.takeReports(), [])
    worker.closeArrived(kept[0])
    worker.closeArrived(worker.arrive())
    worker.closeArrived(kept[1])
  })

  it("pause without a descriptor to give up, and accept when there are some", () => {
    start({ descriptorsMax: 3 + 2 + 1 })
    const kept = worker.arrive()
    // Another thread takes the one that becomes free.
    worker.kernel.acceptErrors.push(-24, -23)
    const waiting = worker.connect()
    worker.settle()
    assert.deepStrictEqual(worker.takeReports(), [["acceptFailed", 1, -24]])
    assert.isUndefined(waiting.ending)
    worker.closeArrived(kept)
    waiting.send(preamble)
    worker.pass(pauseMs - 1)
    assert.deepStrictEqual(worker.takeReports(), [])
    worker.pass(1)
    const [report] = worker.takeReports()
    assert(report?.[0] === "accepted" && report[5] !== undefined)
    worker.closeArrived({ peer: waiting, connection: report[2], socket: report[5][0] })
  })

  it("pass over peers that have gone again", () => {
    start()
    worker.kernel.acceptErrors.push(-103, -4, -71)
    worker.closeArrived(worker.arrive())
  })

  it("leave a flood in the backlog until the main thread has heard of what they have accepted", () => {
    start({ descriptorsMax: 2 * unheardMax })
    worker.isHeard = false
    const peers = Array.from({ length: unheardMax + 10 }, () => worker.connect())
    worker.pass(1_000)
    const accepted = worker.takeReports()
    assert.lengthOf(accepted, unheardMax)
    worker.hearOf(7)
    worker.pass(pauseMs + reportWithinMs)
    const more = worker.takeReports()
    assert.lengthOf(more, 7)
    worker.hearOf(unheardMax)
    worker.pass(pauseMs + reportWithinMs)
    const rest = worker.takeReports()
    assert.lengthOf(rest, 3)
    for (const report of [...accepted, ...more, ...rest]) {
      assert(report[0] === "accepted")
      worker.send(["close", report[2]])
    }
    worker.settle()
    assert.isTrue(peers.every(({ ending }) => ending === "end"))
  })
})

describe("splices", () => {
  it("report their end with the next report, or after 2 ms", () => {
    for (const another of [false, true]) {
      const { left, right } = spliced()
      left.end()
      right.end()
      worker.settle()
      worker.pass(1)
      assert.deepStrictEqual(worker.sentReports(), [])
      assert.deepStrictEqual([left.ending, right.ending], ["end", "end"])
      if (another) {
        worker.connect().reset()
        worker.settle()
        assert.deepStrictEqual(worker.sentReports().map(([kind]) => kind), ["ended", "accepted", "hungUp"])
        worker.order(["close", 3 * 256 + 1])
      } else {
        worker.pass(1)
        assert.deepStrictEqual(worker.sentReports(), ended("completed"))
      }
      worker.finish()
      start()
    }
  })

  for (const first of ["left", "right"] as const) {
    it(`pass a half-close of the ${first} side on, and bytes the other way behind it`, () => {
      const pair = spliced()
      const [one, other] = first === "left" ? [pair.left, pair.right] : [pair.right, pair.left]
      one.send(pattern(1_000))
      one.end()
      worker.settle()
      assert.deepStrictEqual([other.bytes, other.ending], [pattern(1_000), "end"])
      other.send(pattern(300_000))
      worker.settle()
      assert.isUndefined(one.ending)
      assert.deepStrictEqual(worker.takeReports(), [])
      other.end()
      worker.settle()
      assert.isTrue(one.bytes.equals(pattern(300_000)))
      assert.strictEqual(one.ending, "end")
      assert.deepStrictEqual(worker.takeReports(), ended("completed"))
      const [fromOne, fromOther] = first === "left"
        ? ["fromLeft", "fromRight"] as const
        : ["fromRight", "fromLeft"] as const
      const carried = worker.carriedBy(0)
      assert.deepStrictEqual([carried[fromOne], carried[fromOther]], [1_000, 300_000])
    })
  }

  it("deliver everything, and the ends, however little each call moves", () => {
    for (let seed = 1; seed <= 8; seed++) {
      const random = generator(seed)
      const { left, right } = spliced({}, { receiveMax: 5_000, sendMax: 3_000 })
      worker.kernel.partly = (bytes) => Math.ceil(bytes * random())
      left.send(pattern(40_000))
      left.end()
      right.send(pattern(20_000, 7))
      right.end()
      worker.settle()
      assert.isTrue(right.bytes.equals(pattern(40_000)), `seed ${seed}`)
      assert.isTrue(left.bytes.equals(pattern(20_000, 7)), `seed ${seed}`)
      assert.deepStrictEqual(worker.takeReports(), ended("completed"))
      assert.deepStrictEqual(worker.openKinds, ["event"])
    }
  })

  for (const pipesMax of [0, 8]) {
    it(`hold a sender up while its receiver pauses, and deliver everything, with ${pipesMax} pipes`, () => {
      const { left, right } = spliced({}, { pipesMax })
      right.pause()
      const bytes = pattern(4 * 1024 * 1024)
      left.send(bytes)
      worker.settle()
      // What sockets and a pipe hold, or a buffer in place of the pipe.
      const inside = worker.carriedBy(0).fromLeft
      assert.isAtMost(inside, 2 * 64 * 1024 + (pipesMax === 0 ? 16 * 1024 : 1024 * 1024))
      assert.strictEqual(worker.openKinds.filter((kind) => kind === "pipe").length, pipesMax === 0 ? 0 : 2)
      // The other way is free.
      right.send(pattern(10))
      worker.settle()
      assert.deepStrictEqual(left.bytes, pattern(10))
      // Nothing happens before the receiver makes room for a third of what its socket holds.
      right.read(1_000)
      worker.settle()
      right.resume()
      worker.settle()
      assert.isTrue(right.bytes.equals(bytes))
      assert.deepStrictEqual(worker.openKinds.filter((kind) => kind === "pipe"), [])
      left.end()
      right.end()
      worker.settle()
      assert.deepStrictEqual(worker.takeReports(), ended("completed"))
    })
  }

  it("end by a reset that comes right behind bytes, and reset the other side", () => {
    for (const bytes of [0, 1, 16_384, 60_000]) {
      for (const resetFirst of [true, false]) {
        const { left, right } = spliced()
        const [failing, other] = resetFirst ? [left, right] : [right, left]
        failing.send(pattern(bytes))
        failing.reset()
        worker.settle()
        assert.deepStrictEqual(worker.takeReports(), ended("reset"))
        assert.strictEqual(other.ending, "reset")
      }
    }
  })

  it("end by a reset behind a FIN, before and while the splice runs", () => {
    const { left, right } = spliced()
    left.send(pattern(10))
    left.end()
    worker.settle()
    assert.deepStrictEqual([right.bytes, right.ending], [pattern(10), "end"])
    left.reset()
    worker.settle()
    assert.deepStrictEqual(worker.takeReports(), ended("reset"))
    worker.finish()

    start()
    const [gone, silent] = [worker.arrive(), worker.arrive()]
    gone.peer.end()
    worker.settle()
    gone.peer.reset()
    worker.settle()
    worker.takeReports()
    // The main thread has not heard of the reset yet.
    worker.splice(0, silent, gone)
    assert.deepStrictEqual(worker.takeReports(), ended("reset"))
    assert.strictEqual(silent.peer.ending, "reset")
  })

  it("of two sides that are reset in the same batch of events end once", () => {
    const { left, right } = spliced()
    left.reset()
    right.reset()
    worker.settle()
    assert.deepStrictEqual(worker.takeReports(), ended("reset"))
  })

  for (const when of ["before the splice", "while it runs"] as const) {
    it(`carry what is behind an urgent byte, wherever that is, sent ${when}`, () => {
      for (const size of [0, 1, 1_000, 16_383, 16_384, 16_385, 40_000]) {
        for (const behind of [0, 1, 20_000]) {
          for (const ends of [true, false]) {
            start({ receiveMax: 256 * 1024, sendMax: 256 * 1024 })
            const [left, right] = [worker.arrive(), worker.arrive()]
            if (when === "while it runs") {
              worker.splice(0, left, right)
            }
            left.peer.send(pattern(size))
            left.peer.sendUrgent(urgent)
            left.peer.send(pattern(behind, size))
            if (ends) {
              left.peer.end()
            }
            worker.settle()
            if (when === "before the splice") {
              worker.splice(0, left, right)
            }
            const name = `${size} bytes, ${behind} behind, ${ends ? "and" : "no"} end`
            assert.isTrue(
              withoutUrgent(right.peer.bytes).equals(Buffer.concat([pattern(size), pattern(behind, size)])),
              name
            )
            assert.strictEqual(right.peer.ending, ends ? "end" : undefined, name)
            left.peer.end()
            right.peer.end()
            worker.settle()
            assert.deepStrictEqual(worker.takeReports().at(-1), ended("completed")[0], name)
            worker.finish()
          }
        }
      }
      start()
    })
  }

  it("carry what is between urgent bytes, and the end behind the last of them", () => {
    const { left, right } = spliced({}, { receiveMax: 1024 * 1024, sendMax: 1024 * 1024 })
    const sent: Array<Buffer> = []
    for (let piece = 0; piece < 60; piece++) {
      const bytes = pattern(piece * 7_919 % 40_000, piece)
      sent.push(bytes)
      left.send(bytes)
      left.sendUrgent(urgent)
      if (piece % 3 === 0) {
        worker.settle()
      }
    }
    left.end()
    right.end()
    worker.settle()
    assert.isTrue(withoutUrgent(right.bytes).equals(Buffer.concat(sent)))
    assert.strictEqual(right.ending, "end")
    assert.deepStrictEqual(worker.takeReports(), ended("completed"))
  })

  it("end after idleTimeoutMs without a byte, and not before", () => {
    const { left, right } = spliced({ idleTimeoutMs: 1_000 })
    worker.pass(999)
    left.send(pattern(1))
    worker.pass(999)
    right.send(pattern(1))
    worker.pass(999)
    assert.deepStrictEqual(worker.takeReports(), [])
    worker.pass(1)
    assert.deepStrictEqual(worker.takeReports(), ended("idle"))
    assert.deepStrictEqual([left.ending, right.ending], ["reset", "reset"])
  })

  it("end after lingerTimeoutMs without a byte once they are half-closed, and not before", () => {
    const { left, right } = spliced({ idleTimeoutMs: 100_000, lingerTimeoutMs: 1_000 })
    worker.pass(50_000)
    left.end()
    worker.pass(999)
    right.send(pattern(1))
    worker.pass(999)
    assert.deepStrictEqual(worker.takeReports(), [])
    worker.pass(1)
    assert.deepStrictEqual(worker.takeReports(), ended("lingered"))
    assert.strictEqual(right.ending, "reset")
  })

  it("are not silent while a receiver takes some of what waits in the kernel, and are when it takes nothing", () => {
    const { left, right } = spliced({ idleTimeoutMs: 1_000 })
    right.pause()
    left.send(pattern(100_000))
    worker.pass(100)
    assert.strictEqual(worker.carriedBy(0).fromLeft, 100_000)
    for (let reads = 0; reads < 5; reads++) {
      right.read(100)
      worker.pass(1_000)
      assert.deepStrictEqual(worker.takeReports(), [])
    }
    worker.pass(1_000)
    assert.deepStrictEqual(worker.takeReports(), ended("idle"))
  })

  it("keep to their rate on the moved clock, share it, and are not silent while they wait for it", () => {
    const budget = new Budget()
    worker = new SimulatedWorker()
    budget.set(1_000_000, worker.kernel.clock.nowNs())
    worker.takeReports()
    const [left, right] = [worker.arrive(), worker.arrive()]
    worker.splice(0, left, right, { idleTimeoutMs: 3, rates: [budget.memory] })
    left.peer.send(Buffer.alloc(4_000_000))
    right.peer.send(Buffer.alloc(4_000_000))
    for (let seconds = 1; seconds <= 3; seconds++) {
      worker.pass(1_000)
      const { fromLeft, fromRight } = worker.carriedBy(0)
      // 100 ms may be taken ahead, and 100 ms of credit.
      assert.isAtLeast(fromLeft + fromRight, seconds * 1_000_000)
      assert.isAtMost(fromLeft + fromRight, seconds * 1_000_000 + 204_000)
      assert.isAtLeast(Math.min(fromLeft, fromRight), 0.4 * seconds * 1_000_000)
    }
    assert.deepStrictEqual(worker.takeReports(), [])
    worker.pass(60_000)
    assert.deepStrictEqual(worker.takeReports(), ended("idle"))
    assert.deepStrictEqual(worker.carriedBy(0), { fromLeft: 4_000_000, fromRight: 4_000_000 })
  })

  it("end when one of their ends is dead and owes an acknowledgement", () => {
    const { left, right } = spliced()
    left.send(pattern(1_000))
    worker.settle()
    worker.kernel.cutOff({ ...right, socket: right.socket } as typeof right)
    left.send(pattern(1_000))
    worker.pass(deadAfterMs - lookEveryMs)
    assert.deepStrictEqual(worker.takeReports(), [])
    worker.pass(2 * lookEveryMs)
    assert.deepStrictEqual(worker.takeReports(), ended("reset"))
    assert.strictEqual(left.ending, "reset")
  })

  it("end by an order with a reset of both sides, while one is stalled and its pipe is full", () => {
    const { left, right } = spliced()
    right.pause()
    left.send(pattern(2 * 1024 * 1024))
    worker.settle()
    worker.order(["end", 0])
    assert.deepStrictEqual(worker.takeReports(), ended("closed"))
    right.resume()
    assert.deepStrictEqual([left.ending, right.ending], ["reset", "reset"])
    worker.order(["end", 0], ["limit", 0, [new Budget().memory]])
    assert.deepStrictEqual(worker.takeReports(), [])
  })

  it("end when the worker stops", () => {
    const { left, right } = spliced()
    left.send(pattern(1_000))
    worker.settle()
    worker.stop()
    assert.deepStrictEqual(worker.takeReports(), ended("closed"))
    assert.deepStrictEqual([left.ending, right.ending], ["reset", "reset"])
    start()
  })
})
