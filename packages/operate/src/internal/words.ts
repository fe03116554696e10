/** What happens at a relay, in words for people. The journal writes them, and the page counts by them. */
import type { RejectionReason } from "@tx3/relay/RelayError"
import type { EndReason } from "@tx3/relay/RelayEvents"
import type { Transport } from "@tx3/transport"

/** Why a connection came to nothing, of many and of one. Where it is a limit, `limit` is what the setting of that name says. */
const rejections: Readonly<
  Record<RejectionReason, readonly [counted: string, told: (limit: string) => string]>
> = {
  maxInboundConnections: ["the relay was full", (limit) => `the relay has reached its limit of ${limit} connections`],
  maxShareOfRelay: [
    "one address had its share of a nearly full relay",
    () => "this address has its share of a nearly full relay"
  ],
  maxInboundPerIp: [
    "too many unsettled connections of one address",
    (limit) => `this address has reached its limit of ${limit} connections that are neither a node nor spliced`
  ],
  maxSocketsPerIp: [
    "too many connections of one address",
    (limit) => `this address has reached its limit of ${limit} connections`
  ],
  connectionRatePerIp: [
    "too many new connections of one address",
    (limit) => `this address opens more than ${limit} connections a second`
  ],
  maxHandshakes: [
    "too many TLS handshakes",
    (limit) => `the relay has reached its limit of ${limit} TLS handshakes at a time`
  ],
  maxHandshakesPerIp: [
    "too many TLS handshakes of one address",
    (limit) => `this address has reached its limit of ${limit} TLS handshakes at a time`
  ],
  maxControlStreams: ["too many nodes", (limit) => `the relay has reached its limit of ${limit} nodes`],
  maxControlStreamsPerIp: [
    "too many nodes of one address",
    (limit) => `this address has reached its limit of ${limit} nodes`
  ],
  maxRelaysPerControl: ["too many peers of one node", (limit) => `the node has reached its limit of ${limit} peers`],
  maxShareOfNode: [
    "too many peers of one node from one address",
    () => "this address has its share of the node's peers"
  ],
  peerRatePerIp: [
    "too many new peers of one address",
    (limit) => `this address opens more than ${limit} connections a second to one node`
  ],
  descriptors: ["no descriptors left", () => "the process has no descriptors left for another connection"],
  denied: ["refused by access or a ban", () => "access or a ban refuses it"],
  quota: ["this month's volume was used up", () => "this month's volume is used up"],
  hungUp: [
    "the client closed first",
    () => "a client closed before it was a node or joined with one"
  ],
  preambleTimeout: ["the client named no node in time", () => "a client named no node in time"],
  handshakeTimeout: ["TLS handshakes not done in time", () => "a node did not complete its TLS handshake in time"],
  pendingTimeout: ["the node did not dial back in time", () => "the node did not dial back in time"],
  unknownPreamble: [
    "asked for a node that is not here",
    () => "a client asked for a node that is not registered here, or speaks another protocol"
  ],
  handshakeFailed: ["TLS handshakes failed", () => "the TLS handshake with a node failed"],
  controlStreamEnded: ["the node went away meanwhile", () => "the node went away while this client waited for it"],
  clusterUnavailable: ["the cluster could not be asked", () => "the other relays of the cluster could not be asked"],
  maxLookUps: ["too many look-ups in the cluster", () => "too many clients wait for the cluster's other relays"],
  refusedElsewhere: ["refused by the node's relay", () => "the relay that has the node refused it"]
}

/** Says why one connection came to nothing, with the numbers of these settings. */
export const rejection = (reason: RejectionReason, settings: Readonly<Record<string, unknown>>): string =>
  rejections[reason][1](new Intl.NumberFormat("en").format(Number(settings[reason])))

const ends: Readonly<Record<EndReason, readonly [counted: string, told: string]>> = {
  closed: ["closed by the node", "it closed its connection"],
  spoke: ["the node sent what no node sends", "it sent what no node sends"],
  stalled: ["the node read nothing", "it did not read what it was sent"],
  unresponsive: ["the node did not dial back", "it did not dial back to its peers"],
  replaced: ["registered again", "it has registered again"],
  kicked: ["kicked", "an operator ended it"],
  shutdown: ["the relay stopped", "the relay stops"]
}

/** Says how a registration ended. */
export const end = (reason: EndReason): string => ends[reason][1]

const outcomes: Readonly<Record<Transport.SpliceOutcome, string>> = {
  completed: "both sides were done",
  reset: "one side broke off",
  lingered: "one side was done and the other was silent",
  idle: "both sides were silent for too long",
  closed: "the relay ended it",
  failed: "the transport failed"
}

/** Says how a splice ended. */
export const outcome = (outcome: Transport.SpliceOutcome): string => outcomes[outcome]

const limits = {
  maxInboundConnections: "Connections",
  descriptors: "Connections that descriptors allow",
  maxShareOfRelay: "Connections of the busiest address",
  maxControlStreams: "Nodes",
  maxHandshakes: "TLS handshakes at a time",
  maxRelaysPerControl: "Peers of the busiest node",
  bandwidthTotal: "Bandwidth",
  monthlyBytesSoft: "This month's volume, until a warning",
  monthlyBytesHard: "This month's volume, until splices are refused"
}

const firstOf = <Key extends string>(words: Readonly<Record<Key, readonly [string, unknown]>>) =>
  Object.fromEntries(Object.entries<readonly [string, unknown]>(words).map(([key, [counted]]) => [key, counted]))

/** A module of the page with the words for what it counts, by the names in the status. */
export const script = `export const words = ${
  JSON.stringify({ ends: firstOf(ends), limits, rejections: firstOf(rejections) })
}\n`

const units = ["B", "kB", "MB", "GB", "TB", "PB"]

/** Writes a number of bytes with three digits and a unit of 1000, as the page and the programs do. */
export const bytes = (count: number): string => {
  const power = units.findLastIndex((_, power) => count >= 999.5 * 1000 ** (power - 1))
  return `${Number((count / 1000 ** Math.max(0, power)).toPrecision(3))} ${units[Math.max(0, power)]}`
}

/** Writes a time with two digits, or as whole seconds. */
export const seconds = (ms: number): string => `${ms < 9_950 ? (ms / 1000).toFixed(1) : Math.round(ms / 1000)} s`
