import { describe, it } from "@effect/vitest"
import { FastCheck } from "effect"
import * as Net from "node:net"
import { assert } from "vitest"
import { headerBytesMax, isProxy, listOf, parse } from "../src/internal/proxyProtocol.js"
import type { Ends } from "./utils/proxyHeaders.js"
import { addresses, binary, binaryOf, line, lineOf } from "./utils/proxyHeaders.js"

const four: Ends = { source: "192.0.2.1", destination: "198.51.100.2", sourcePort: 4001, destinationPort: 38141 }
const six: Ends = { ...four, source: "2001:db8::1", destination: "2001:db8::2" }
const own = undefined

const anyPort = FastCheck.integer({ min: 0, max: 0xffff })
const endsOf = (address: FastCheck.Arbitrary<string>) =>
  FastCheck.record({ source: address, destination: address, sourcePort: anyPort, destinationPort: anyPort })
const anyEnds = FastCheck.oneof(
  endsOf(FastCheck.ipV4()),
  endsOf(FastCheck.ipV6().filter((text) => !text.includes(".")))
)
const anyBytes = FastCheck.uint8Array({ maxLength: 600 })
const anyHeader = FastCheck.oneof(
  anyEnds.map(lineOf),
  FastCheck.tuple(anyEnds, FastCheck.uint8Array({ maxLength: headerBytesMax - 52 })).map(([ends, more]) =>
    binaryOf(ends, more)
  )
)

/** As the system writes it. */
const canonical = (address: string) =>
  new Net.SocketAddress({ address, family: Net.isIPv6(address) ? "ipv6" : "ipv4" }).address

describe("a PROXY header", () => {
  it.prop("names its source in both versions", [anyEnds, anyBytes, anyBytes], ([ends, more, behind]) => {
    const source = { host: canonical(ends.source), port: ends.sourcePort }
    for (const header of [lineOf(ends), binaryOf(ends, more.subarray(0, headerBytesMax - 52))]) {
      assert.deepStrictEqual(parse(Buffer.concat([header, behind])), { length: header.length, source })
    }
  })

  it.prop("has to come as far as its last byte", [anyHeader], ([header]) => {
    for (let length = 0; length < header.length; length++) {
      assert.isUndefined(parse(header.subarray(0, length)))
    }
  })

  it.prop("is not in any bytes", [anyBytes], ([bytes]) => {
    const mayBegin = bytes.length === 0 || bytes[0] === 0x50 || bytes[0] === 0x0d
    assert.isTrue(mayBegin || parse(bytes) === "sent something else than a PROXY header")
    assert.isFalse(typeof parse(bytes) === "object")
  })

  it.prop(
    "with any bytes changed is complete, incomplete or wrong, and more bytes do not change what it is",
    [anyHeader, anyBytes, FastCheck.array(FastCheck.tuple(FastCheck.nat(535), FastCheck.nat(255)), { maxLength: 3 })],
    ([header, behind, changes]) => {
      const bytes = Buffer.concat([header, behind])
      for (const [at, byte] of changes) {
        bytes[at % header.length] = byte
      }
      const decided = parse(bytes)
      for (let length = 0; length < bytes.length; length++) {
        const sooner = parse(bytes.subarray(0, length))
        if (sooner !== undefined) {
          assert.deepStrictEqual(sooner, decided)
        }
      }
      if (typeof decided === "object") {
        assert.isAtMost(decided.length, Math.min(bytes.length, headerBytesMax))
        assert.isTrue(decided.source === undefined || Net.isIP(decided.source.host) !== 0)
      } else {
        assert.isTrue(decided !== undefined || bytes.length < headerBytesMax)
      }
    }
  )

  it("is at most as long as the specification's longest, or 536 bytes", () => {
    const longest = `PROXY UNKNOWN ${"f".repeat(39)} ${"f".repeat(39)} 65535 65535`
    assert.deepStrictEqual(parse(line(longest)), { length: 107, source: own })
    assert.strictEqual(parse(line(`${longest}5`)), "sent a PROXY header that is too long")
    assert.isUndefined(parse(Buffer.from(longest)))
    assert.isUndefined(parse(Buffer.from(`${longest}\r`)))
    assert.strictEqual(parse(Buffer.from(`${longest}55`)), "sent a PROXY header that is too long")
    assert.strictEqual(
      parse(Buffer.from(`PROXY TCP4 ${" ".repeat(1_000)}`)),
      "sent a PROXY header that is too long"
    )
    assert.deepStrictEqual(parse(binaryOf(four, Buffer.alloc(536 - 28)))?.valueOf(), {
      length: 536,
      source: { host: "192.0.2.1", port: 4001 }
    })
    for (const header of [binaryOf(four, Buffer.alloc(537 - 28)), binary(0x20, 0, Buffer.alloc(0), 521)]) {
      assert.strictEqual(parse(header), "sent a PROXY header that is too long")
    }
  })

  it("that names nobody leaves the connection its own address", () => {
    for (
      const header of [
        line("PROXY UNKNOWN"),
        line("PROXY UNKNOWN "),
        line("PROXY UNKNOWN 192.0.2.1 198.51.100.2 1 2"),
        line("PROXY UNKNOWN what ever"),
        binary(0x20, 0x00, Buffer.alloc(0)),
        binary(0x20, 0x11, addresses(four)),
        binary(0x20, 0xff, Buffer.alloc(7)),
        binary(0x21, 0x00, Buffer.alloc(0)),
        binary(0x21, 0x00, Buffer.alloc(30)),
        // of a datagram, from a socket of a file, of an unknown protocol
        binary(0x21, 0x12, addresses(four)),
        binary(0x21, 0x22, addresses(six)),
        binary(0x21, 0x31, Buffer.alloc(216)),
        binary(0x21, 0x32, Buffer.alloc(216)),
        binary(0x21, 0x10, addresses(four))
      ]
    ) {
      assert.deepStrictEqual(parse(header), { length: header.length, source: own })
    }
  })

  it("is written one way", () => {
    const lines = {
      "not a line of version 1": [
        "PROXY ",
        "PROXY TCP4",
        "PROXY TCP5 192.0.2.1 198.51.100.2 1 2",
        "PROXY tcp4 192.0.2.1 198.51.100.2 1 2",
        "PROXY UNKNOWNS",
        "PROXY UNKNOWN \r x",
        "PROXY  TCP4 192.0.2.1 198.51.100.2 1 2",
        "PROXY TCP4  192.0.2.1 198.51.100.2 1 2",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1 2 ",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1 2 3",
        "PROXY TCP4 192.0.2.1 198.51.100.2 -1 2",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1 0x2",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1\t2",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1 2\r"
      ],
      "an address that is not IPv4": [
        "PROXY TCP4 192.0.2.256 198.51.100.2 1 2",
        "PROXY TCP4 192.0.02.1 198.51.100.2 1 2",
        "PROXY TCP4 192.0.2 198.51.100.2 1 2",
        "PROXY TCP4 192.0.2.1 198.51.100.2.3 1 2",
        "PROXY TCP4 192.0.2.1 localhost 1 2",
        "PROXY TCP4 2001:db8::1 2001:db8::2 1 2",
        "PROXY TCP4 ::ffff:192.0.2.1 198.51.100.2 1 2"
      ],
      "an address that is not IPv6": [
        "PROXY TCP6 192.0.2.1 2001:db8::2 1 2",
        "PROXY TCP6 2001:db8::1 192.0.2.1 1 2",
        "PROXY TCP6 2001:db8::1::1 2001:db8::2 1 2",
        "PROXY TCP6 2001:db8::12345 2001:db8::2 1 2",
        "PROXY TCP6 [2001:db8::1] 2001:db8::2 1 2",
        "PROXY TCP6 fe80::1%lo 2001:db8::2 1 2"
      ],
      "a port that is none": [
        "PROXY TCP4 192.0.2.1 198.51.100.2 65536 2",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1 65536",
        "PROXY TCP4 192.0.2.1 198.51.100.2 01 2",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1 00",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1 9999999"
      ]
    }
    for (const [problem, texts] of Object.entries(lines)) {
      for (const text of texts) {
        assert.strictEqual(parse(line(text)), `sent a broken PROXY header: ${problem}`, text)
      }
    }
    assert.strictEqual(
      parse(Buffer.from("PROXY TCP4 192.0.2.1 198.51.100.2 1 2\n")),
      "sent a broken PROXY header: not a line of version 1"
    )
    for (
      const [header, problem] of [
        [binary(0x11, 0x11, addresses(four)), "version 1"],
        [binary(0x31, 0x11, addresses(four)), "version 3"],
        [binary(0x22, 0x11, addresses(four)), "command 2"],
        [binary(0x2f, 0x11, addresses(four)), "command 15"],
        [binary(0x21, 0x41, addresses(four)), "family and protocol 0x41"],
        [binary(0x21, 0x03, addresses(four)), "family and protocol 0x03"],
        [binary(0x21, 0x11, addresses(four).subarray(1)), "too short for its addresses"],
        [binary(0x21, 0x21, addresses(six).subarray(1)), "too short for its addresses"]
      ] as const
    ) {
      assert.strictEqual(parse(header), `sent a broken PROXY header: ${problem}`)
    }
  })

  it("names an address as a socket would", () => {
    for (
      const [text, host] of [
        ["2001:DB8:0:0:0:0:0:1", "2001:db8::1"],
        ["::ffff:192.0.2.1", "::ffff:192.0.2.1"],
        ["::FFFF:C000:201", "::ffff:192.0.2.1"]
      ] as const
    ) {
      const header = line(`PROXY TCP6 ${text} ::1 1 2`)
      assert.deepStrictEqual(parse(header), { length: header.length, source: { host, port: 1 } })
    }
    const mapped = binaryOf({ ...six, source: "::ffff:c000:201" })
    assert.deepStrictEqual(parse(mapped), { length: 52, source: { host: "::ffff:192.0.2.1", port: 4001 } })
  })
})

describe("a list of proxies", () => {
  const lists = (ranges: ReadonlyArray<string>, address: string) =>
    isProxy({ headerTimeoutMs: 1, list: listOf(ranges) }, address)

  it("has addresses and ranges of both families", () => {
    const ranges = ["192.0.2.1", "198.51.100.0/24", "2001:db8::1", "2001:db8:1::/48"]
    for (const address of ["192.0.2.1", "198.51.100.0", "198.51.100.255", "2001:db8::1", "2001:db8:1:ffff::"]) {
      assert.isTrue(lists(ranges, address), address)
    }
    for (const address of ["192.0.2.2", "192.0.3.1", "198.51.101.0", "2001:db8::2", "2001:db8:2::", "::"]) {
      assert.isFalse(lists(ranges, address), address)
    }
  })

  it("has an IPv4 address however its connection came", () => {
    assert.isTrue(lists(["192.0.2.0/24"], "::ffff:192.0.2.1"))
    assert.isFalse(lists(["192.0.2.0/24"], "::ffff:192.0.3.1"))
  })

  it("has a link-local address on every interface", () => {
    assert.isTrue(lists(["fe80::1"], "fe80::1%eth0"))
    assert.isFalse(lists(["fe80::1"], "fe80::2%eth0"))
  })

  it("has nothing else", () => {
    for (
      const range of ["", "10", "10/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/8/8", "10.0.0.0/x", "::/129", "proxy"]
    ) {
      assert.throws(() => listOf([range]), undefined, undefined, range)
    }
  })
})
