/**
 * The source of a connection, by which every per-source limit counts.
 *
 * @since 0.1.0
 */
import type * as Brand from "effect/Brand"
import ipaddr from "ipaddr.js"
import * as Net from "node:net"

/**
 * An IPv4 address, or an IPv6 /64 network such as `2001:db8:1:2::/64`: a host with one address of a /64 has them all
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
 * A numeric address itself, without the zone of a link-local one (RFC 4007), which only this machine knows; an
 * IPv4-mapped IPv6 address as its IPv4 address.
 *
 * @since 0.1.0
 * @category constructors
 */
export const addressOf = (remoteAddress: string): string =>
  Net.isIPv4(remoteAddress) ? remoteAddress : ipaddr.process(remoteAddress.replace(/%.*/, "")).toString()

/**
 * The network around a source: the /24 of an IPv4 address, the /48 of an IPv6 one.
 *
 * @since 0.1.0
 * @category getters
 */
export const shortened = (source: Source): string =>
  Net.isIPv4(source)
    ? `${ipaddr.IPv4.networkAddressFromCIDR(`${source}/24`).toString()}/24`
    : `${ipaddr.IPv6.networkAddressFromCIDR(source.replace(/\/64$/, "/48")).toString()}/48`

const networkOf = (address: string) => `${ipaddr.IPv6.networkAddressFromCIDR(`${address}/64`).toString()}/64`
