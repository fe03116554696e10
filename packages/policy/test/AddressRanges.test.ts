import { assert, describe, it } from "@effect/vitest"
import * as AddressRanges from "../src/internal/addressRanges.js"

const having = (...texts: ReadonlyArray<string>) => {
  const ranges = new AddressRanges.AddressRanges()
  texts.forEach((text) => ranges.add(AddressRanges.fromString(text)))
  return ranges
}

describe("addressRanges", () => {
  it("has the addresses of its ranges, and no others", () => {
    const ranges = having("192.0.2.0/24", "198.51.100.7", "10.0.0.0/8", "2001:db8::/32", "2001:db9::1")
    const inside = ["192.0.2.0", "192.0.2.255", "198.51.100.7", "10.255.0.1", "2001:db8:ffff::1", "2001:db9::1"]
    const outside = ["192.0.3.0", "192.0.1.255", "198.51.100.6", "11.0.0.0", "2001:dba::", "2001:db9::2", "::a00:1"]
    assert.deepEqual(inside.filter((address) => !ranges.has(address)), [])
    assert.deepEqual(outside.filter((address) => ranges.has(address)), [])
    assert.isFalse(having().has("10.0.0.1"))
  })

  it("everybody of one family is no one of the other", () => {
    assert.isTrue(having("0.0.0.0/0").has("203.0.113.1"))
    assert.isFalse(having("0.0.0.0/0").has("2001:db8::1"))
    assert.isTrue(having("::/0").has("2001:db8::1"))
    assert.isFalse(having("::/0").has("203.0.113.1"))
  })

  it("takes an IPv4-mapped range for its IPv4 addresses", () => {
    const ranges = having("::ffff:192.0.2.9/120", "::ffff:198.51.100.7")
    assert.isTrue(ranges.has("192.0.2.200"))
    assert.isTrue(ranges.has("198.51.100.7"))
    assert.isFalse(ranges.has("198.51.100.8"))
  })

  it("gives all ways to write a range one name", () => {
    const name = (text: string) => AddressRanges.fromString(text).name
    assert.deepEqual(
      ["192.0.2.77/24", "192.0.2.7/32", "192.0.2.7", "2001:DB8:0::1/32", "2001:db8:0:0::1", "::ffff:192.0.2.7"].map(
        name
      ),
      ["192.0.2.0/24", "192.0.2.7", "192.0.2.7", "2001:db8::/32", "2001:db8::1", "192.0.2.7"]
    )
  })

  it("forgets a range, and keeps others of its length", () => {
    const ranges = having("192.0.2.0/24", "198.51.100.0/24")
    ranges.delete(AddressRanges.fromString("192.0.2.9/24"))
    assert.isFalse(ranges.has("192.0.2.1"))
    assert.isTrue(ranges.has("198.51.100.1"))
    ranges.delete(AddressRanges.fromString("203.0.113.0/25"))
    ranges.delete(AddressRanges.fromString("198.51.100.0/24"))
    assert.isFalse(ranges.has("198.51.100.1"))
  })

  it("ranges overlap when one is in the other", () => {
    const overlap = (one: string, other: string) =>
      AddressRanges.overlap(AddressRanges.fromString(one), AddressRanges.fromString(other))
    assert.isTrue(overlap("192.0.2.0/24", "192.0.2.7"))
    assert.isTrue(overlap("192.0.2.7", "192.0.0.0/16"))
    assert.isFalse(overlap("192.0.2.0/24", "192.0.3.7"))
    assert.isTrue(overlap("2001:db8:1:2::77", "2001:db8:1:2::/64"))
    assert.isFalse(overlap("2001:db8:1:3::77", "2001:db8:1:2::/64"))
    assert.isFalse(overlap("0.0.0.0/0", "2001:db8::/64"))
  })
})
