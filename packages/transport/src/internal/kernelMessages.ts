/**
 * The messages between the main thread and a worker of the kernel transport. Each side collects the entries of a turn of its
 * loop and sends them as one message. They are tuples, because those are cheaper to copy between threads than objects.
 */
import type { SpliceOutcome } from "../Transport.js"
import type { Proxies } from "./proxyProtocol.js"
import type { Descriptor, Owner } from "./system.js"

/** The data that a worker is started with. Arrays are of memory that all threads share. */
export interface WorkerData {
  readonly owner: Owner
  readonly ledger: SharedArrayBuffer
  readonly poll: Descriptor
  readonly bell: Descriptor
  readonly pipesMax: number
  /** Bytes taken from the left of each splice, at twice its number, and next to it from its right. */
  readonly carried: Float64Array
  /** This worker's own, by `Signal`. */
  readonly signals: Int32Array
}

export const Signal = {
  /** Not 0: the worker ends what it has, and itself. */
  stop: 0,
  /** How many of the worker's connections the main thread has heard of, or never will. */
  heard: 1,
  /** Not 0: the worker has left its loop, and makes no more native calls. */
  left: 2,
  /** How many messages with orders have been posted to the worker. */
  messages: 3,
  /** Not 0: the worker waits for events, or is about to, and has to be woken. */
  asleep: 4
} as const

/** Memory for a worker's signals. */
export const makeSignals = () => new Int32Array(new SharedArrayBuffer(4 * Object.keys(Signal).length))

/** One side of a splice, whether it is in the worker's epoll already, and whether its connection has failed. */
export type Side = readonly [connection: number, socket: Descriptor, watched: boolean, failed: boolean]

/** A complete preamble, as latin1. The socket becomes the main thread's when the report is sent. */
export type Arrived = readonly [socket: Descriptor, preamble: string]

export type Order =
  | readonly ["accept", listener: number, socket: Descriptor, proxies: Proxies | undefined]
  | readonly ["stopAccepting", listener: number]
  /** Connects, and sends the first bytes, given as latin1. */
  | readonly ["dial", connection: number, host: string, port: number, first: string]
  /** Closes a connection that is still sending its preamble, or still connects. */
  | readonly ["close", connection: number]
  /** The connection has left this worker. */
  | readonly ["forget", connection: number]
  | readonly [
    "splice",
    splice: number,
    left: Side,
    right: Side,
    lingerTimeoutMs: number,
    idleTimeoutMs: number | undefined,
    rates: ReadonlyArray<SharedArrayBuffer> | undefined
  ]
  | readonly ["limit", splice: number, rates: ReadonlyArray<SharedArrayBuffer>]
  | readonly ["end", splice: number]

export type Report =
  | readonly [
    "accepted",
    listener: number,
    connection: number,
    address: string,
    port: number,
    arrived: Arrived | undefined
  ]
  | readonly ["preamble", connection: number, arrived: Arrived]
  /** A dialed connection, with an empty preamble. */
  | readonly ["dialed", connection: number, arrived: Arrived]
  | readonly ["dialFailed", connection: number, negativeErrno: number]
  | readonly ["hungUp", connection: number, failed: boolean]
  | readonly ["acceptFailed", listener: number, negativeErrno: number]
  /** A proxy's connection, for what is wrong with its header. */
  | readonly ["refused", listener: number, address: string, problem: string]
  | readonly ["stoppedAccepting", listener: number]
  | readonly ["ended", splice: number, outcome: SpliceOutcome]
