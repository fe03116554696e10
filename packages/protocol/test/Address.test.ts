import { assert, describe, it } from "@effect/vitest"
import { Address, CertDigest } from "@tx3/protocol"
import { Either, Equal, Option, Schema } from "effect"

const digest = "CeQbgBHU0JzTXXOGYr3EFpG0Q4HtjrwNmxOdNM-Gbco"

const error = (text: string) => Either.getOrThrow(Either.flip(Address.parse(text)))

describe("Address", () => {
  it.prop("prints as a text that reads back as an equal address", [Address.Address], ([address]) => {
    assert.isTrue(Equal.equals(Either.getOrThrow(Address.parse(address.toString())), address))
  })

  it.prop("prints and reads the same through its schema", [Address.Address], ([address]) => {
    const text = Schema.encodeSync(Address.FromString)(address)
    assert.strictEqual(text, address.toString())
    assert.isTrue(Equal.equals(Schema.decodeSync(Address.FromString)(text), address))
  })

  it.prop("takes another digest and keeps the rest", [Address.Address, CertDigest.CertDigest], ([address, other]) => {
    const changed = address.withDigest(other)
    assert.strictEqual(changed.digest.value, other)
    assert.strictEqual(changed.toString().replace(`/${other}`, ""), address.toString().replace(/\/[\w-]{43}$/, ""))
  })

  it.each([
    [`tx3-st://example.com:443/${digest}`, "tx3-st", "example.com", 443, digest],
    [`tx3-rst://203.0.113.5:38141/${digest}`, "tx3-rst", "203.0.113.5", 38141, digest],
    [`tx3-rst://[2001:db8::1]:1/${digest}`, "tx3-rst", "2001:db8::1", 1, digest],
    ["tx3-st://0.0.0.0:0", "tx3-st", "0.0.0.0", 0, undefined],
    ["tx3-st://[::]:0/", "tx3-st", "::", 0, undefined],
    ["tx3-st://[::ffff:192.0.2.1]:65535", "tx3-st", "::ffff:192.0.2.1", 65535, undefined],
    ["tx3-st://my_relay.internal:80", "tx3-st", "my_relay.internal", 80, undefined],
    ["tx3-st://xn--bcher-kva.example:80", "tx3-st", "xn--bcher-kva.example", 80, undefined],
    ["tx3-st://1st.example:80", "tx3-st", "1st.example", 80, undefined],
    ["TX3-RST://localhost:00080", "tx3-rst", "localhost", 80, undefined],
    [`tx3-st://${"a".repeat(63)}:80`, "tx3-st", "a".repeat(63), 80, undefined],
    [`tx3-st://${"a.".repeat(126)}a:80`, "tx3-st", `${"a.".repeat(126)}a`, 80, undefined]
  ])("reads %s", (text, scheme, host, port, digest) => {
    const address = Either.getOrThrow(Address.parse(text))
    assert.deepStrictEqual(
      [address.scheme, address.host, address.port, Option.getOrUndefined(address.digest)],
      [scheme, host, port, digest]
    )
  })

  it.each([
    [` tx3-st://h:1/${digest}`, "white space"],
    [`tx3-st://h:1/${digest}\n`, "white space"],
    ["tx3-st://h h:1", "white space"],
    ["", "scheme"],
    ["example.com", "scheme"],
    ["example.com:443", "scheme"],
    ["//example.com:443", "scheme"],
    ["://example.com:443", "scheme"],
    ["https://example.com:443", "scheme"],
    ["tx3://example.com:443", "scheme"],
    ["tx3-st", "scheme"],
    ["tx3-st://user@h:1", "user info"],
    ["tx3-st://user:secret@h:1", "user info"],
    ["tx3-st://@h:1", "user info"],
    ["tx3-st:", "host"],
    ["tx3-st://", "host"],
    ["tx3-st:h:1", "host"],
    ["tx3-st:/h:1", "host"],
    ["tx3-st:///h:1", "host"],
    [`tx3-st://:80/${digest}`, "host"],
    ["tx3-st://[]:80", "host"],
    ["tx3-st://::1:80", "host"],
    ["tx3-st://2001:db8::1", "host"],
    ["tx3-st://[::1:80", "host"],
    ["tx3-st://::1]:80", "host"],
    ["tx3-st://[::1]x:80", "host"],
    ["tx3-st://[1::2::3]:80", "host"],
    ["tx3-st://[::ffff:0x1.2.3.4]:80", "host"],
    ["tx3-st://[::ffff:01.2.3.4]:80", "host"],
    ["tx3-st://[fe80::1%eth0]:80", "host"],
    ["tx3-st://[fe80::1%25eth0]:80", "host"],
    ["tx3-st://[v1.x]:80", "host"],
    ["tx3-st://[example.com]:80", "host"],
    ["tx3-st://[127.0.0.1]:80", "host"],
    ["tx3-st://256.1.1.1:80", "host"],
    ["tx3-st://1.2.3:80", "host"],
    ["tx3-st://1.2.3.4.5:80", "host"],
    ["tx3-st://01.2.3.4:80", "host"],
    ["tx3-st://2130706433:80", "host"],
    ["tx3-st://0x7f000001:80", "host"],
    ["tx3-st://example.123:80", "host"],
    ["tx3-st://-a.example:80", "host"],
    ["tx3-st://a-.example:80", "host"],
    ["tx3-st://a..example:80", "host"],
    ["tx3-st://.example:80", "host"],
    ["tx3-st://example.:80", "host"],
    ["tx3-st://exa%6dple:80", "host"],
    ["tx3-st://bücher.example:80", "host"],
    ["tx3-st://a,b:80", "host"],
    ["tx3-st://a:80:80", "host"],
    [`tx3-st://${"a".repeat(64)}:80`, "host"],
    [`tx3-st://${"a.".repeat(127)}a:80`, "host"],
    ["tx3-st://h", "port"],
    ["tx3-st://h:", "port"],
    [`tx3-st://h/${digest}`, "port"],
    ["tx3-st://[::1]", "port"],
    ["tx3-st://h:65536", "port"],
    ["tx3-st://h:100000", "port"],
    ["tx3-st://h:-1", "port"],
    ["tx3-st://h:+1", "port"],
    ["tx3-st://h:0x50", "port"],
    ["tx3-st://h:1e3", "port"],
    ["tx3-st://h:http", "port"],
    ["tx3-st://h:1?", "query"],
    [`tx3-st://h:1/${digest}?a=b`, "query"],
    ["tx3-st://h:1#", "fragment"],
    [`tx3-st://h:1/${digest}#?`, "fragment"],
    ["tx3-st://h:1//", "digest"],
    ["tx3-st://h:1/abc", "digest"],
    [`tx3-st://h:1//${digest}`, "digest"],
    [`tx3-st://h:1/${digest}/`, "digest"],
    [`tx3-st://h:1/${digest}=`, "digest"],
    [`tx3-st://h:1/${digest.replace("-", "+")}`, "digest"],
    [`tx3-st://h:1/${digest.replace("-", "%2D")}`, "digest"],
    [`tx3-st://h:1/${digest.slice(0, 42)}p`, "digest"]
  ])("refuses %j for its %s", (text, part) => {
    const { input, message, part: named } = error(text)
    assert.strictEqual(named, part)
    assert.strictEqual(input, text)
    assert.isTrue(message.startsWith(`${JSON.stringify(text)}: ${part} `), message)
  })

  it("says what to write instead", () => {
    assert.strictEqual(
      error("tx3-st://:80/abc").message,
      "\"tx3-st://:80/abc\": host is missing; write tx3-st://HOST:PORT/DIGEST"
    )
    assert.strictEqual(error("tx3-rst://::1:80").message, "\"tx3-rst://::1:80\": host is an IPv6 address; write [::1]")
    assert.strictEqual(
      error("http://h:80").message,
      "\"http://h:80\": scheme is neither tx3-st nor tx3-rst; " +
        "write tx3-st://HOST:PORT/DIGEST or tx3-rst://HOST:PORT/DIGEST"
    )
  })

  it("carries that message through the schema", () => {
    const result = Schema.decodeUnknownEither(Address.FromString)("tx3-st://h")
    assert.include(Either.getOrThrow(Either.flip(result)).message, error("tx3-st://h").message)
  })

  it("requires a digest of an address to connect to", () => {
    assert.strictEqual(Either.getOrThrow(Address.parseWithDigest(`tx3-st://h:1/${digest}`)).digest.value, digest)
    const missing = Either.getOrThrow(Either.flip(Address.parseWithDigest("tx3-rst://h:1/")))
    assert.strictEqual(missing.part, "digest")
    assert.strictEqual(missing.message, "\"tx3-rst://h:1/\": digest is missing; write tx3-rst://HOST:PORT/DIGEST")
    assert.strictEqual(Either.getOrThrow(Either.flip(Address.parseWithDigest("tx3-st://h"))).part, "port")
  })

  it("cannot be made of parts that are wrong", () => {
    const parts = { scheme: "tx3-st", host: "::1", port: 1, digest: Option.none() } as const
    assert.strictEqual(String(new Address.Address(parts)), "tx3-st://[::1]:1")
    assert.throws(() => new Address.Address({ ...parts, host: "[::1]" }))
    assert.throws(() => new Address.Address({ ...parts, host: "a/b" }))
    assert.throws(() => new Address.Address({ ...parts, port: 65536 }))
  })
})
