/**
 * What the benchmark and its load programs say to each other, over node's IPC channel: one request at a time to each
 * program, and one reply to each request. And what the two ends of a splice say to each other through the subject.
 */

/** What a peer connects to. `preamble` is what a tx3 relay wants to hear first, in base64; a plain proxy wants nothing. */
export interface Target {
  readonly host: string
  readonly port: number
  readonly preamble: string
}

/** The peers' program. A group is a set of connections under a name, all of one kind. */
export type PeersRequest =
  | {
    readonly type: "open"
    readonly target: Target
    readonly group: string
    readonly kind: Kind
    readonly count: number
  }
  | { readonly type: "close"; readonly group: string }
  | { readonly type: "startPumping"; readonly group: string }
  | { readonly type: "stopPumping"; readonly group: string }
  | {
    readonly type: "roundTrips"
    readonly group: string
    readonly warmUpMs: number
    readonly measureMs: number
  }
  | { readonly type: "setUps"; readonly target: Target; readonly inFlight: number; readonly durationMs: number }
  | ({ readonly type: "pacedSetUps"; readonly target: Target } & Pace)
  | {
    readonly type: "unknown"
    readonly host: string
    readonly port: number
    readonly inFlight: number
    readonly durationMs: number
  }

/** The far ends' program: a tx3 node, or the backend of a plain proxy. */
export type FarEndsRequest =
  | { readonly type: "listen" }
  | {
    readonly type: "register"
    readonly host: string
    readonly port: number
    readonly relay: string
    /** Where it dials back to, if not to where it has registered. */
    readonly dialBack?: Place
  }
  | {
    readonly type: "registerReturning"
    readonly host: string
    readonly port: number
    readonly relay: string
    readonly count: number
    /** Those that register at the same time. */
    readonly atATime: number
    /** Where they register when they have lost their relay, after a wait of half of `waitMs` to `waitMs`. */
    readonly then: ReadonlyArray<Place>
    readonly waitMs: number
  }
  | { readonly type: "returned" }
  | { readonly type: "prepareIdentities"; readonly count: number }
  | {
    readonly type: "registerMany"
    readonly host: string
    readonly port: number
    readonly relay: string
    readonly count: number
    /** Those that register at the same time. */
    readonly atATime: number
  }
  | { readonly type: "received" }
  | (
    & { readonly type: "pacedRegistrations"; readonly host: string; readonly port: number; readonly relay: string }
    & Pace
  )

/** One begins every so often, whether or not those before it are done. */
export interface Pace {
  readonly everyMs: number
  readonly durationMs: number
}

/** What the attacker does. */
export type Attack = "silent" | "slow" | "unknown" | "garbage" | "hello" | "peers" | "chain" | "splices"

/** A relay and one of its nodes, both digests in base64. */
export interface Attacked {
  readonly host: string
  readonly port: number
  readonly relay: string
  readonly node: string
}

/** The attacker's program: once started it goes on until it is ended. */
export type AttackerRequest =
  | ({ readonly type: "start"; readonly attack: Attack } & Attacked)
  | { readonly type: "attempts" }

export interface Attempts {
  readonly count: number
  readonly atMs: number
}

export interface Place {
  readonly host: string
  readonly port: number
}

/** When the last of the nodes that had lost their relay was registered again, by `Date.now()`. */
export interface Returned {
  readonly atMs: number
}

/** The engine's program: what a member asks of NATS. */
export type EngineRequest =
  | { readonly type: "roundTrips"; readonly server: string; readonly count: number }
  | { readonly type: "connects"; readonly count: number }
  | { readonly type: "connect"; readonly server: string }
  | { readonly type: "subscribe"; readonly count: number }

export interface Took {
  readonly ms: number
}

export interface Listening {
  readonly port: number
}

export interface Registered {
  /** The node's digest, in base64: the preamble of its peers. */
  readonly digest: string
}

export interface Received {
  readonly bytes: number
  readonly atMs: number
}

/** Times in milliseconds. */
export interface Times {
  readonly count: number
  readonly p50: number
  readonly p99: number
}

export interface SetUps extends Times {
  readonly failed: number
  readonly durationMs: number
}

/** What failed counts as having taken as long as it may. */
export interface Paced extends Times {
  readonly failed: number
}

export type Reply = { readonly ok: true; readonly value: unknown } | { readonly ok: false; readonly problem: string }

/**
 * The first byte of a connection tells its far end what to do with the rest. Each far end answers that byte with one, so
 * that its peer knows the splice to be up.
 */
export type Kind = "sink" | "echo"

export const kindBytes: Readonly<Record<Kind, number>> = { sink: 1, echo: 2 }

/** The bytes of a round trip. */
export const messageLength = 64
