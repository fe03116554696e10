/** The types that the parts of a worker of the kernel transport share. This module owns nothing. */
import type { Order, Report } from "./kernelMessages.js"
import type { Clock, DescriptorCalls, Poll } from "./system.js"

/** The way to the main thread, and back. */
export interface Port {
  /** Takes the next message, which must have come. */
  readonly receive: () => ReadonlyArray<Order>
  readonly post: (reports: ReadonlyArray<Report>) => void
  readonly close: () => void
}

/** All that a worker calls outside itself. */
export interface System {
  readonly descriptors: DescriptorCalls
  readonly poll: Poll
  readonly clock: Clock
  readonly port: Port
}

/** The subject of an event. */
export interface Watched {
  readonly onEvents: (bits: number) => void
}

export interface WorkerContext {
  readonly system: System
  /** This worker's own, by `Signal`. */
  readonly signals: Int32Array
  /** By the keys of events. No key is used twice, so an event of a socket that has been closed since finds nothing. */
  readonly watched: Map<number, Watched>
  readonly listenerKey: (listener: number) => number
  /** The key of the worker's nth connection, which no other worker and no listener has. */
  readonly connectionKey: (count: number) => number
  readonly report: (report: Report) => void
}
