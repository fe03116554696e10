import { assert, describe, it } from "@effect/vitest"
import { Source } from "@tx3/protocol"

const sources = (...addresses: ReadonlyArray<string>) => addresses.map(Source.fromAddress)

describe("Source", () => {
  it("6.9 an IPv4 address stands for itself", () => {
    assert.deepStrictEqual(sources("192.0.2.1", "127.0.0.2", "0.0.0.0"), sources("192.0.2.1", "127.0.0.2", "0.0.0.0"))
    assert.strictEqual(Source.fromAddress("192.0.2.1"), "192.0.2.1")
    assert.notStrictEqual(Source.fromAddress("192.0.2.1"), Source.fromAddress("192.0.2.2"))
  })

  it("6.9 an IPv4-mapped address counts as IPv4, however it is written", () => {
    assert.deepStrictEqual(
      sources("::ffff:192.0.2.1", "::ffff:c000:201", "::FFFF:192.0.2.1", "0:0:0:0:0:ffff:c000:0201"),
      sources("192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.1")
    )
  })

  it("6.9 IPv6 addresses of one /64 are one source", () => {
    assert.deepStrictEqual(
      new Set(
        sources("2001:db8:1:2::1", "2001:db8:1:2::2", "2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:DB8:1:2:3:4:5:6")
      ),
      new Set(["2001:db8:1:2::/64"])
    )
  })

  it("6.9 IPv6 addresses of neighbouring /64s are not", () => {
    assert.strictEqual(
      new Set(sources("2001:db8:1:2::1", "2001:db8:1:3::1", "2001:db8:1:2:8000::1", "2001:db8:0:2::1")).size,
      3
    )
  })

  it("6.9 loopback, link-local addresses with their zone, and embedded IPv4 of other kinds have a source", () => {
    assert.strictEqual(Source.fromAddress("::1"), "::/64")
    assert.strictEqual(Source.fromAddress("fe80::1%eth0"), Source.fromAddress("fe80::2%eth0"))
    for (const zone of ["lo", "br-lan", "eth0.100", "a:b"]) {
      assert.strictEqual(Source.fromAddress(`fe80::1%${zone}`), "fe80::/64")
      assert.strictEqual(Source.addressOf(`fe80::1%${zone}`), "fe80::1")
    }
    assert.strictEqual(Source.fromAddress("64:ff9b::192.0.2.1"), "64:ff9b::/64")
  })
})
