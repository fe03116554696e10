/** Warns the operator of addresses of which a relay cannot know who can reach them. */
import type { Address } from "@tx3/protocol/Address"
import ipaddr from "ipaddr.js"
import { isIP } from "node:net"

const rangeOf = (host: string) => isIP(host) === 0 ? undefined : ipaddr.process(host).range()

/** RFC 1918, 6598, 3927, 4193 and 4291. */
const privateRanges = new Set<string | undefined>(["carrierGradeNat", "linkLocal", "private", "uniqueLocal"])

const isLoopback = ({ host }: Address) => host === "localhost" || rangeOf(host) === "loopback"

/** Tells that no other machine can use any of these addresses; undefined where one may. */
export const loopbackOnly = (addresses: ReadonlyArray<Address>): string | undefined =>
  addresses.length > 0 && addresses.every(isLoopback)
    ? "only programs of this machine can use these addresses; to let others in, bind 0.0.0.0 on a machine that has a network, " +
      "or set advertise to what they reach, as [tx3-rst://relay.example.org:38141]"
    : undefined

/** Says what must be so outside this machine, for others to reach these addresses. */
export const advice = (addresses: ReadonlyArray<Address>): string => {
  const ports = Array.from(new Set(addresses.map(({ port }) => port))).join(", ")
  const behindNat = addresses.find(({ host }) => privateRanges.has(rangeOf(host)))
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
