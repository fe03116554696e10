/** Warns the operator of addresses of which a relay cannot know who can reach them. */
import type { Address } from "@tx3/protocol/Address"
import { BlockList, isIP, isIPv6 } from "node:net"

const ranges = (...list: ReadonlyArray<readonly [network: string, prefix: number]>) => {
  const block = new BlockList()
  for (const [network, prefix] of list) {
    block.addSubnet(network, prefix, isIPv6(network) ? "ipv6" : "ipv4")
  }
  return (host: string) => isIP(host) !== 0 && block.check(host, isIPv6(host) ? "ipv6" : "ipv4")
}

const isOfThisMachine = ranges(["127.0.0.0", 8], ["::1", 128])

/** RFC 1918, 6598, 3927, 4193 and 4291. */
const isPrivate = ranges(
  ["10.0.0.0", 8],
  ["172.16.0.0", 12],
  ["192.168.0.0", 16],
  ["100.64.0.0", 10],
  ["169.254.0.0", 16],
  ["fc00::", 7],
  ["fe80::", 10]
)

const isLoopback = ({ host }: Address) => host === "localhost" || isOfThisMachine(host)

/** Tells that no other machine can use any of these addresses; undefined where one may. */
export const loopbackOnly = (addresses: ReadonlyArray<Address>): string | undefined =>
  addresses.length > 0 && addresses.every(isLoopback)
    ? "only programs of this machine can use these addresses; to let others in, bind 0.0.0.0 on a machine that has a network, " +
      "or set advertise to what they reach, as [tx3-rst://relay.example.org:38141]"
    : undefined

/** Says what must be so outside this machine, for others to reach these addresses. */
export const advice = (addresses: ReadonlyArray<Address>): string => {
  const ports = Array.from(new Set(addresses.map(({ port }) => port))).join(", ")
  const behindNat = addresses.find(({ host }) => isPrivate(host))
  return loopbackOnly(addresses) ?? [
    `open TCP port ${ports} in the firewalls of this machine and of its provider`,
    ...behindNat === undefined
      ? []
      : [
        `${behindNat.host} is a private address: others reach it only within its network, unless the router forwards the port ` +
        "and advertise says the router's address"
      ],
    "tx3-relay probe ADDRESS on another machine tells whether it can be reached"
  ].join("; ")
}
