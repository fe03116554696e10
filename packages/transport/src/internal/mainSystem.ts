/**
 * The calls that the main thread of the kernel transport makes, to the system and to its threads. `linux.ts` makes them to
 * Linux and starts worker threads; a simulation makes them to a kernel in memory.
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { Duplex } from "node:stream"
import type { Transport } from "../Transport.js"
import type { Order, Report, WorkerData } from "./kernelMessages.js"
import type { Descriptor, DescriptorCalls, Incoming, Owner } from "./system.js"

export interface MainDescriptors extends Pick<DescriptorCalls, "close" | "give" | "reset"> {
  /** Opens a listening socket; throws the system's error. */
  readonly listen: (host: string, port: number, ipv6Only: boolean, backlog: number) => Incoming
  /** Opens the epoll of a thread, and its bell. */
  readonly openPoll: () => { readonly bell: Descriptor; readonly poll: Descriptor }
  /** Ends what a thread that is no more has left open. */
  readonly closeAllOf: (dead: Owner) => void
  /** A stream over a socket, which owns it from now on. */
  readonly toDuplex: (socket: Descriptor) => Duplex
}

export interface Thread {
  readonly post: (orders: ReadonlyArray<Order>) => void
  /** Ends it by force, which works where it is in JavaScript and not in the kernel. */
  readonly abandon: () => void
}

export interface MainSystem {
  /** A place for every descriptor number that the process can have. */
  readonly makeLedger: (descriptors: number) => SharedArrayBuffer
  readonly descriptors: (ledger: SharedArrayBuffer) => MainDescriptors
  /** Rings a thread's bell: its wait ends. */
  readonly ring: (bell: Descriptor) => void
  /** Ends the events of a descriptor, but for those that have been fetched. */
  readonly unwatch: (poll: Descriptor, descriptor: Descriptor) => void
  /** A failed system call, as Node reports them. */
  readonly systemError: (syscall: string, negativeErrno: number) => NodeJS.ErrnoException
  /** Starts a thread; throws if the system starts none. `onExit` is called once, with what it failed with, if it did. */
  readonly startThread: (
    data: WorkerData,
    onReports: (reports: ReadonlyArray<Report>) => void,
    onExit: (failure: unknown) => void
  ) => Thread
  /** Tries a transport on this system before it is given out. */
  readonly selfTest: (transport: Transport["Type"]) => Effect.Effect<void, Error>
}

/** The system that a simulation puts in the place of Linux. */
export class Simulated extends Context.Reference<Simulated>()("@tx3/transport/internal/Simulated", {
  defaultValue: (): MainSystem | undefined => undefined
}) {}
