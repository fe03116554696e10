/**
 * The hosts that a listener publishes. The bound address does not suffice: clients cannot dial an unspecified address, which
 * means every interface of the machine.
 */
import * as Arr from "effect/Array"
import ipaddr from "ipaddr.js"
import { isIP } from "node:net"
import type { NetworkInterfaceInfo } from "node:os"

const loopback = { IPv4: "127.0.0.1", IPv6: "::1" }

/**
 * Tells whether a listener bound to this host is reached at all addresses of the machine: 0.0.0.0 or ::.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isUnspecified = (boundHost: string): boolean =>
  isIP(boundHost) !== 0 && ipaddr.parse(boundHost).range() === "unspecified"

/**
 * The hosts to publish for a socket bound to `boundHost`, given `os.networkInterfaces()` (protocol, section 2).
 *
 * Bound to 0.0.0.0 or ::, they are the machine's globally routable addresses of that family; failing those, its first
 * address that is not loopback; failing that, loopback. Bound to anything else, it is that itself. An IPv6 link-local
 * address is never published: it means nothing without a zone, and an address has no place for one. Hosts are without
 * brackets, in the interfaces' order.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromBound = (
  boundHost: string,
  interfaces: NodeJS.Dict<Array<NetworkInterfaceInfo>>
): Arr.NonEmptyReadonlyArray<string> => {
  if (!isUnspecified(boundHost)) {
    return [boundHost]
  }
  const family = isIP(boundHost) === 4 ? "IPv4" : "IPv6"
  const candidates = Object.values(interfaces)
    .flatMap((infos) => infos ?? [])
    .filter((info) => info.family === family && !info.internal)
    .map((info) => ({ host: info.address, range: ipaddr.parse(info.address).range() }))
  const routable = candidates.filter(({ range }) => range === "unicast").map(({ host }) => host)
  if (Arr.isNonEmptyArray(routable)) {
    return routable
  }
  const first = candidates.find(({ range }) => family === "IPv4" || range !== "linkLocal")
  return [first?.host ?? loopback[family]]
}
