/** What a soak, its relay and its load say to each other over node's IPC channel: one request at a time, and one reply to each. */

export type RelayRequest = "heap" | "kill a thread"

/** Bytes of heap in use after a collection, or how many threads were killed. */
export type RelayReply = number

export interface Target {
  readonly host: string
  readonly port: number
  /** The relay's digest, in base64. */
  readonly relay: string
  /** Nodes that register, each from an address of its own. */
  readonly nodes: number
  /** Peers at a time. */
  readonly peers: number
}

export type LoadRequest = ({ readonly type: "start" } & Target) | { readonly type: "take" } | { readonly type: "stop" }

/** What has happened since the last time it was taken. */
export interface Taken {
  /** Scenarios that ended as they had to, by name. */
  readonly done: Readonly<Record<string, number>>
  /** Splices among them. */
  readonly splices: number
  /** Peers that were not served: a node was away, a limit was reached, a thread was killed. */
  readonly unserved: number
  /** What must never happen, each with what was seen; the first hundred. */
  readonly wrong: ReadonlyArray<string>
  /** Milliseconds from connect to the first byte back. */
  readonly p50: number
  readonly p99: number
}
