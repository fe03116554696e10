/**
 * Whom a connection is counted to: the party that an address stands for, which is what every per-source limit counts.
 *
 * @since 0.1.0
 */
import type * as Brand from "effect/Brand"
import ipaddr from "ipaddr.js"
import * as Net from "node:net"

/**
 * An IPv4 address, or an IPv6 /64 network such as `2001:db8:1:2::/64`: whoever has one address of a /64 has them all
 * (RFC 4291, section 2.5.1; RFC 6177).
 *
 * @since 0.1.0
 * @category models
 */
export type Source = string & Brand.Brand<"Source">

/**
 * The source of a numeric address. An IPv4-mapped IPv6 address (RFC 4291, section 2.5.5.2) counts as its IPv4 address.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromAddress = (address: string): Source => {
  if (Net.isIPv4(address)) {
    return address as Source
  }
  const ip = ipaddr.process(address)
  return (ip.kind() === "ipv4" ? ip.toString() : networkOf(address)) as Source
}

const networkOf = (address: string) => `${ipaddr.IPv6.networkAddressFromCIDR(`${address}/64`).toString()}/64`
