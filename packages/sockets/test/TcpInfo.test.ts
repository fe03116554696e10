import { describe, it } from "@effect/vitest"
import { TcpInfo } from "@tx3/sockets"
import { assert } from "vitest"

const quiet = { retransmits: 0, probes: 0, lastAckMs: 0, lastDataMs: 0 }

describe("TcpInfo", () => {
  it("parse reads each field from its place", () => {
    const struct = new DataView(new ArrayBuffer(TcpInfo.infoBytes))
    struct.setUint8(2, 1)
    struct.setUint8(3, 2)
    struct.setUint8(4, 3)
    struct.setUint32(24, 4, true)
    struct.setUint32(52, 5, true)
    struct.setUint32(56, 6, true)
    struct.setBigUint64(120, 2n ** 40n, true)
    struct.setUint32(144, 8, true)
    struct.setUint32(228, 9, true)
    const all = {
      retransmits: 1,
      probes: 2,
      backoff: 3,
      unacked: 4,
      lastDataMs: 5,
      lastAckMs: 6,
      bytesAcked: 2 ** 40,
      notSentBytes: 8,
      sendWindow: 9
    }
    assert.deepStrictEqual(TcpInfo.parse(struct, 240), all)
    assert.deepStrictEqual(TcpInfo.parse(struct, 192), { ...all, sendWindow: 0 })
    assert.deepStrictEqual(TcpInfo.parse(struct, 104), { ...all, bytesAcked: 0, notSentBytes: 0, sendWindow: 0 })
  })

  const cases: ReadonlyArray<readonly [what: string, info: typeof quiet, dead: boolean]> = [
    ["an idle connection that keep-alive finds alive", { ...quiet, lastAckMs: 6_900, lastDataMs: 3_600_000 }, false],
    ["an idle connection without keep-alive", { ...quiet, lastAckMs: 3_600_000, lastDataMs: 3_600_000 }, false],
    ["data in flight for 27.9 s", { ...quiet, retransmits: 7, lastAckMs: 27_900, lastDataMs: 60_000 }, false],
    ["data in flight for 28 s", { ...quiet, retransmits: 7, lastAckMs: 28_000, lastDataMs: 60_000 }, true],
    ["data in flight, and the other end still sends", { ...quiet, retransmits: 7, lastAckMs: 28_000 }, false],
    ["one retransmission after a long silence", {
      ...quiet,
      retransmits: 1,
      lastAckMs: 60_000,
      lastDataMs: 60_000
    }, false],
    [
      "a paused reader that has answered a probe 119 s ago",
      { ...quiet, lastAckMs: 119_000, lastDataMs: 600_000 },
      false
    ],
    ["a paused reader whose probe is on its way, or lost", {
      ...quiet,
      probes: 1,
      lastAckMs: 121_000,
      lastDataMs: 600_000
    }, false],
    ["a paused reader that has not answered two probes", {
      ...quiet,
      probes: 2,
      lastAckMs: 240_000,
      lastDataMs: 600_000
    }, true],
    ["a paused reader without answers to probes for 20 s", {
      ...quiet,
      probes: 6,
      lastAckMs: 20_000,
      lastDataMs: 600_000
    }, false]
  ]
  for (const [what, info, dead] of cases) {
    it(`${what}: ${dead ? "dead" : "alive"}`, () => assert.strictEqual(TcpInfo.isDead(info), dead))
  }
})
