/**
 * Ranges of addresses, and which addresses are in any of many. A lookup costs one step for each prefix length that
 * occurs, of which there are a few dozen at most, and not one for each range.
 */
import ipaddr from "ipaddr.js"
import * as Net from "node:net"

export interface AddressRange {
  readonly kind: "ipv4" | "ipv6"
  readonly address: ipaddr.IPv4 | ipaddr.IPv6
  readonly bits: number
  /** The one text that all ways to write this range have in common. */
  readonly name: string
}

/** The range that a `RelayConfig.AddressRange` or a `Source` is. An IPv4-mapped one is that of its IPv4 addresses. */
export const fromString = (text: string): AddressRange => {
  const address = ipaddr.parse(text.split("/")[0]!)
  const kind = address.kind()
  const bits = text.includes("/") ? ipaddr.parseCIDR(text)[1] : bitsOf[kind]
  if (address instanceof ipaddr.IPv6 && address.isIPv4MappedAddress() && bits >= 96) {
    return fromString(`${address.toIPv4Address().toString()}/${bits - 96}`)
  }
  return { kind, address, bits, name: nameOf(kind, address.toString(), bits) }
}

/** Whether two ranges have an address in common: one of them is in the other then. */
export const overlap = (one: AddressRange, other: AddressRange): boolean =>
  one.kind === other.kind && one.address.match(other.address, Math.min(one.bits, other.bits))

const bitsOf = { ipv4: 32, ipv6: 128 }

const nameOf = (kind: AddressRange["kind"], address: string, bits: number) => {
  const network = (kind === "ipv4" ? ipaddr.IPv4 : ipaddr.IPv6).networkAddressFromCIDR(`${address}/${bits}`).toString()
  return bits === bitsOf[kind] ? network : `${network}/${bits}`
}

/** Any number of ranges. */
export class AddressRanges {
  private readonly networks = { ipv4: new Map<number, Set<string>>(), ipv6: new Map<number, Set<string>>() }

  add({ bits, kind, name }: AddressRange) {
    const names = this.networks[kind].get(bits)
    if (names === undefined) {
      this.networks[kind].set(bits, new Set([name]))
    } else {
      names.add(name)
    }
  }

  delete({ bits, kind, name }: AddressRange) {
    const names = this.networks[kind].get(bits)
    names?.delete(name)
    if (names?.size === 0) {
      this.networks[kind].delete(bits)
    }
  }

  /** Whether a numeric address is in one of them. */
  has(address: string): boolean {
    const kind = Net.isIPv4(address) ? "ipv4" : "ipv6"
    for (const [bits, names] of this.networks[kind]) {
      if (names.has(nameOf(kind, address, bits))) {
        return true
      }
    }
    return false
  }
}
