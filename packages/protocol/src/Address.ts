/**
 * An address: where a node or relay is reached, and the digest that must answer: `tx3-st://HOST:PORT/DIGEST` for TLS straight over TCP,
 * `tx3-rst://HOST:PORT/DIGEST` for the same through a relay. An address is checked whole when it is made, so every
 * `Address` prints as a text that reads back as an equal one; hosts are kept as they were written.
 */
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import { isIPv4, isIPv6 } from "node:net"
import * as CertDigest from "./CertDigest.js"

const Scheme = Schema.Literal("tx3-st", "tx3-rst")

const isScheme = Schema.is(Scheme)

/** Says what is wrong with a host, which is an IPv6 address without its brackets, an IPv4 address or a name. */
const hostProblem = (host: string): string | undefined => {
  if (host === "") {
    return "is missing"
  }
  if (host.includes("%")) {
    return "contains \"%\", but zones and escapes have no place in it"
  }
  if (host.includes(":")) {
    return isIPv6(host) ? undefined : "is not an IPv6 address"
  }
  // No top-level domain is a number, and resolvers read a host that ends in one as an IPv4 address of some old form.
  if (/(^|\.)(\d+|0x[\da-f]*)$/i.test(host)) {
    return isIPv4(host) ? undefined : "is not an IPv4 address of four decimal numbers"
  }
  // RFC 1123, section 2.1, and the underscore that names in private networks often have.
  return host.length <= 253 && host.split(".").every((label) => /^\w([\w-]{0,61}\w)?$/.test(label))
    ? undefined
    : "is not a name of letters, digits and hyphens, with dots between its labels"
}

const Host = Schema.String.pipe(
  Schema.filter((host) => hostProblem(host) === undefined, {
    identifier: "Host",
    description: "a host name, an IPv4 address, or an IPv6 address without brackets",
    arbitrary: () => (fc) => fc.oneof(fc.domain(), fc.ipV4(), fc.ipV6())
  })
)

/**
 * An address to listen at or to connect to (protocol, section 2).
 *
 * - `scheme`: `tx3-st` for direct TLS over TCP, `tx3-rst` for relayed.
 * - `host`: a name (RFC 1123, underscores tolerated, at most 253 characters), an IPv4 address of four decimal numbers,
 *   or an IPv6 address without brackets and without a zone.
 * - `port`: 0 to 65535, where 0 lets the system choose and is only for listening.
 * - `digest`: whose certificate must be met there; absent in an address that is only listened at.
 *
 * The constructor throws a `ParseError` for fields that are none of this; for text from outside use {@link parse}.
 *
 * @since 0.1.0
 * @category models
 */
export class Address extends Schema.Class<Address>("@tx3/protocol/Address")({
  scheme: Scheme,
  host: Host,
  port: Schema.Int.pipe(Schema.between(0, 65535)),
  digest: Schema.OptionFromSelf(CertDigest.CertDigest)
}) {
  /**
   * The same place with this digest.
   *
   * @since 0.1.0
   */
  withDigest(digest: CertDigest.CertDigest): AddressWithDigest {
    return new Address({ ...this, digest: Option.some(digest) }) as AddressWithDigest
  }

  /**
   * The URL form, which {@link parse} reads back as an equal address.
   *
   * @since 0.1.0
   */
  override toString(): string {
    const host = this.host.includes(":") ? `[${this.host}]` : this.host
    const path = Option.match(this.digest, { onNone: () => "", onSome: (digest) => `/${digest}` })
    return `${this.scheme}://${host}:${this.port}${path}`
  }
}

/**
 * An address that says whose certificate must be met there, as one to connect to always does.
 *
 * @since 0.1.0
 * @category models
 */
export type AddressWithDigest = Address & { readonly digest: Option.Some<CertDigest.CertDigest> }

/**
 * A text that is no address. `part` names the first part of it that is wrong, `problem` says how, and `message` puts
 * both behind the quoted input.
 *
 * @since 0.1.0
 * @category errors
 */
export class AddressError extends Schema.TaggedError<AddressError>("@tx3/protocol/AddressError")("AddressError", {
  input: Schema.String,
  part: Schema.Literal("white space", "scheme", "user info", "host", "port", "digest", "query", "fragment"),
  problem: Schema.String
}) {
  override get message(): string {
    return `${JSON.stringify(this.input)}: ${this.part} ${this.problem}`
  }
}

/**
 * The parts of a URI by RFC 3986, sections 3 and 3.2. It matches every text; what a part may contain is checked after.
 * A host is in brackets or ends before the last colon; the authority ends where path, query or fragment begin.
 */
const uri = new RegExp(
  "^(?:(?<scheme>[^:/?#]*):)?" +
    "(?://(?:(?<userInfo>[^/?#]*)@)?(?<host>\\[[^/?#@\\]]*\\]|[^/?#@]*?)(?::(?<port>[^:/?#@]*))?(?=[/?#]|$))?" +
    "(?<path>[^?#]*)(?:\\?(?<query>[^#]*))?(?:#(?<fragment>[^]*))?$"
)

const isDigest = Schema.is(CertDigest.CertDigest)

const form = (scheme: Address["scheme"]) => `${scheme}://HOST:PORT/DIGEST`

/**
 * Reads an address (protocol, section 2; RFC 3986). The path may be absent or "/", which is an address without a
 * digest. The scheme may be in either case, and an IPv6 host must be in brackets. White space, user info, a query and a
 * fragment are refused.
 *
 * @since 0.1.0
 * @category parsing
 */
export const parse = (input: string): Either.Either<Address, AddressError> => {
  const fail = (part: AddressError["part"], problem: string) => Either.left(new AddressError({ input, part, problem }))
  if (/\s/.test(input)) {
    return fail("white space", "is not allowed")
  }
  const groups = uri.exec(input)?.groups ?? {}
  const scheme = groups["scheme"]?.toLowerCase()
  if (!isScheme(scheme)) {
    return fail("scheme", `is neither tx3-st nor tx3-rst; write ${form("tx3-st")} or ${form("tx3-rst")}`)
  }
  if (groups["userInfo"] !== undefined) {
    return fail("user info", `is not allowed; write ${form(scheme)}`)
  }
  const authorityHost = groups["host"] ?? ""
  const bracketed = authorityHost.startsWith("[") && authorityHost.endsWith("]")
  const host = bracketed ? authorityHost.slice(1, -1) : authorityHost
  const problem = hostProblem(host)
  if (problem !== undefined) {
    return fail("host", `${problem}; write ${form(scheme)}`)
  }
  if (bracketed !== host.includes(":")) {
    return fail("host", bracketed ? "is in brackets, but not an IPv6 address" : `is an IPv6 address; write [${host}]`)
  }
  const port = groups["port"] ?? ""
  if (port === "") {
    return fail("port", `is missing; write ${form(scheme)}`)
  }
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65535) {
    return fail("port", "is not a decimal number from 0 to 65535")
  }
  if (groups["query"] !== undefined) {
    return fail("query", `is not allowed; write ${form(scheme)}`)
  }
  if (groups["fragment"] !== undefined) {
    return fail("fragment", `is not allowed; write ${form(scheme)}`)
  }
  const digest = groups["path"]?.slice(1) ?? ""
  if (digest !== "" && !isDigest(digest)) {
    return fail("digest", "is not the base64url of 32 bytes, 43 characters without padding")
  }
  return Either.right(
    new Address({ scheme, host, port: Number(port), digest: digest === "" ? Option.none() : Option.some(digest) })
  )
}

/**
 * Whether an address says whose certificate must be met there.
 *
 * @since 0.1.0
 * @category predicates
 */
export const hasDigest = (address: Address): address is AddressWithDigest => Option.isSome(address.digest)

/**
 * Reads an address to connect to: as {@link parse}, with the digest required.
 *
 * @since 0.1.0
 * @category parsing
 */
export const parseWithDigest = (input: string): Either.Either<AddressWithDigest, AddressError> =>
  Either.filterOrLeft(
    parse(input),
    hasDigest,
    ({ scheme }) => new AddressError({ input, part: "digest", problem: `is missing; write ${form(scheme)}` })
  )

/**
 * An {@link Address} in its URL form, as it stands in files and on command lines. Decoding fails with the
 * {@link AddressError}'s message.
 *
 * @since 0.1.0
 * @category schemas
 */
export const FromString: Schema.Schema<Address, string> = Schema.transformOrFail(
  Schema.String,
  Schema.typeSchema(Address),
  {
    strict: true,
    decode: (text, _, ast) => Either.mapLeft(parse(text), (error) => new ParseResult.Type(ast, text, error.message)),
    encode: (address) => ParseResult.succeed(address.toString())
  }
).annotations({
  identifier: "AddressFromString",
  description: "an address as tx3-st://HOST:PORT/DIGEST or tx3-rst://HOST:PORT/DIGEST"
})

/**
 * Writes HOST:PORT, with an IPv6 address in brackets.
 *
 * @since 0.1.0
 * @category getters
 */
export const hostPort = (host: string, port: number): string =>
  host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`
