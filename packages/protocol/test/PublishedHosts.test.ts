import { assert, describe, it } from "@effect/vitest"
import { PublishedHosts } from "@tx3/protocol"
import type { NetworkInterfaceInfo } from "node:os"

const info = (address: string, internal = false): NetworkInterfaceInfo => ({
  address,
  internal,
  netmask: "",
  mac: "00:00:00:00:00:00",
  cidr: null,
  ...(address.includes(":") ? { family: "IPv6", scopeid: 0 } : { family: "IPv4" })
})

const lo = [info("127.0.0.1", true), info("::1", true)]
const lan = [info("192.168.1.2"), info("fe80::1"), info("fd00::2")]
const wan = [info("8.8.4.4"), info("2a00:1450::1"), info("2a00:1450::2")]

describe("PublishedHosts", () => {
  it.each([
    ["an address", "192.168.1.2", { lo, lan, wan }, ["192.168.1.2"]],
    ["an IPv6 address", "fd00::2", { lo, lan, wan }, ["fd00::2"]],
    ["loopback", "127.0.0.1", { lo, lan, wan }, ["127.0.0.1"]],
    ["a name", "localhost", { lo, lan, wan }, ["localhost"]],
    ["every routable IPv4 address", "0.0.0.0", { lo, lan, wan, more: [info("1.1.1.1")] }, ["8.8.4.4", "1.1.1.1"]],
    ["every routable IPv6 address", "::", { lo, lan, wan }, ["2a00:1450::1", "2a00:1450::2"]],
    ["them for another spelling of ::", "0:0:0:0:0:0:0:0", { lo, lan, wan }, ["2a00:1450::1", "2a00:1450::2"]],
    ["the first private IPv4 address", "0.0.0.0", { lo, lan, more: [info("10.0.0.1")] }, ["192.168.1.2"]],
    ["a shared address of a carrier", "0.0.0.0", { lo, wan: [info("100.64.0.1")] }, ["100.64.0.1"]],
    ["an IPv4 link-local address", "0.0.0.0", { lo, lan: [info("169.254.0.1")] }, ["169.254.0.1"]],
    ["the first private IPv6 address, not a link-local one", "::", { lo, lan }, ["fd00::2"]],
    ["IPv4 loopback when there is nothing else", "0.0.0.0", { lo, wan: [info("2a00:1450::1")] }, ["127.0.0.1"]],
    ["IPv6 loopback when there is nothing else", "::", { lo, lan: [info("fe80::1"), info("8.8.8.8")] }, ["::1"]],
    ["loopback without any interface", "::", { lo: undefined }, ["::1"]]
  ])("are %s", (_, boundHost, interfaces, hosts) => {
    assert.deepStrictEqual([...PublishedHosts.fromBound(boundHost, interfaces)], hosts)
  })
})
