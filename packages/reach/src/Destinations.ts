/**
 * Which addresses and ports peers of an exposed SOCKS5 proxy may connect to. Without an entry there are none. It owns nothing.
 *
 * @since 0.1.0
 */
import { addressOf } from "@tx3/protocol/Source"
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import * as net from "node:net"

/**
 * A list of ranges of addresses with their ports, and whether one address and port is in it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Destinations {
  /** The entries, as they were written. */
  readonly entries: ReadonlyArray<string>

  /** Whether a numeric address with this port is in the list. An IPv4-mapped IPv6 address counts as its IPv4 address. */
  readonly has: (address: string, port: number) => boolean
}

/**
 * A text that is no entry of such a list.
 *
 * @since 0.1.0
 * @category errors
 */
export class DestinationError extends Schema.TaggedError<DestinationError>("@tx3/reach/DestinationError")(
  "DestinationError",
  { input: Schema.String }
) {
  override get message(): string {
    return `${
      JSON.stringify(this.input)
    } is no destination; write RANGE:PORTS, as 192.168.1.0/24:22,80 or 10.0.0.7:8000-8100 or ` +
      "[fd00::/8]:443, with * for all ports"
  }
}

interface Destination {
  readonly ranges: net.BlockList
  readonly family: "ipv4" | "ipv6"
  readonly hasPort: (port: number) => boolean
}

const entryPattern = /^(?:\[([\da-fA-F:.]+)(\/\d{1,3})?\]|([\d.]+)(\/\d{1,2})?):(\*|[\d,-]+)$/

const parseEntry = (input: string): Either.Either<Destination, DestinationError> => {
  const [, ipv6, ipv6Bits, ipv4, ipv4Bits, ports] = entryPattern.exec(input) ?? []
  const address = ipv6 ?? ipv4
  const family = ipv6 === undefined ? "ipv4" : "ipv6"
  const mostBits = ipv6 === undefined ? 32 : 128
  const bits = Number((ipv6Bits ?? ipv4Bits ?? `/${mostBits}`).slice(1))
  const hasPort = ports === undefined ? undefined : portsIn(ports)
  const isRange = address !== undefined && net.isIP(address) === (ipv6 === undefined ? 4 : 6) && bits <= mostBits &&
    // Addresses are looked for in the family that they belong to.
    net.isIP(addressOf(address)) === net.isIP(address)
  if (!isRange || hasPort === undefined) {
    return Either.left(new DestinationError({ input }))
  }
  const ranges = new net.BlockList()
  ranges.addSubnet(address, bits, family)
  return Either.right({ ranges, family, hasPort })
}

const portsIn = (text: string): ((port: number) => boolean) | undefined => {
  if (text === "*") {
    return () => true
  }
  const spans = text.split(",").map((span) => {
    const [, first, last] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(span) ?? []
    return [Number(first), Number(last ?? first)] as const
  })
  return spans.every(([first, last]) => first >= 1 && first <= last && last <= 65_535)
    ? (port) => spans.some(([first, last]) => first <= port && port <= last)
    : undefined
}

/**
 * Reads entries: RANGE:PORTS, RANGE being an address or a CIDR range, of IPv6 in brackets, and PORTS ports and spans of them with
 * commas between, or `*`.
 *
 * @since 0.1.0
 * @category parsing
 */
export const parse = (entries: ReadonlyArray<string>): Either.Either<Destinations, DestinationError> =>
  Either.map(Either.all(entries.map(parseEntry)), (destinations) => ({
    entries,
    has: (text, port) => {
      const address = addressOf(text)
      const kind = net.isIPv4(address) ? "ipv4" : "ipv6"
      // A BlockList looks for an IPv4 address in IPv6 ranges, too, as a mapped one.
      return destinations.some(({ family, hasPort, ranges }) =>
        family === kind && hasPort(port) && ranges.check(address, kind)
      )
    }
  }))
