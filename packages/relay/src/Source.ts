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
export const fromAddress = (remoteAddress: string): Source => {
  const address = addressOf(remoteAddress)
  return (Net.isIPv4(address) ? address : networkOf(address)) as Source
}

/**
 * A numeric address itself, an IPv4-mapped IPv6 address as its IPv4 address.
 *
 * @since 0.1.0
 * @category constructors
 */
export const addressOf = (remoteAddress: string): string =>
  Net.isIPv4(remoteAddress) ? remoteAddress : ipaddr.process(remoteAddress).toString()

const networkOf = (address: string) => `${ipaddr.IPv6.networkAddressFromCIDR(`${address}/64`).toString()}/64`
