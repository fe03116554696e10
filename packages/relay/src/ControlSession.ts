/**
 * An actor: one registered node's control stream. Others put splice tokens into its mailbox; it writes them to the node,
 * one write at a time, one token of each source in turns. Its fiber only waits for the end: woken for every token, it
 * would cost more than the write.
 *
 * It owns the stream, until the node closes it, says a word (nodes never do: protocol section 4), does not take what it
 * is sent in time, does not dial back, or registers again.
 *
 * @since 0.1.0
 */
import type { CertDigest } from "@tx3/protocol/CertDigest"
import * as Handshake from "@tx3/protocol/Handshake"
import * as Preamble from "@tx3/protocol/Preamble"
import type { Source } from "@tx3/protocol/Source"
import * as SpliceToken from "@tx3/protocol/SpliceToken"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Duplex } from "node:stream"
import type { Accepted } from "./Accepted.js"
import { Mailbox } from "./internal/mailbox.js"
import type { EndReason, Party } from "./RelayEvents.js"

/**
 * A control stream is over, and why. `serve` comes back with it in any case, also where nothing went wrong.
 *
 * @since 0.1.0
 * @category errors
 */
export class ControlStreamEnded extends Data.TaggedError("ControlStreamEnded")<{ readonly reason: EndReason }> {}

/**
 * A registered node's control stream, as the rest of the relay uses it.
 *
 * @since 0.1.0
 * @category models
 */
export interface ControlSession extends Party {
  /** When it was accepted, in milliseconds since the epoch. */
  readonly since: number

  /** Puts the token of a peer that comes from `source` into the mailbox. Once the stream has ended, does nothing. */
  readonly deliver: (token: SpliceToken.SpliceToken, source: Source) => void

  /** Takes a token out of the mailbox; false if the node has been sent it. */
  readonly withdraw: (token: SpliceToken.SpliceToken, source: Source) => boolean

  /** Calls `listener` when the stream ends, at once if it has, unless what it returns is called before. */
  readonly onEnd: (listener: (reason: EndReason) => void) => () => void

  /**
   * Ends the stream, with TLS's close_notify if it is `replaced` and without it otherwise (RFC 8446, section 6.1). The first
   * reason given counts.
   */
  readonly end: (reason: EndReason) => void

  /** Tells the node that it is registered, then serves the mailbox until the stream has ended and is closed. */
  readonly serve: Effect.Effect<never, ControlStreamEnded>
}

/**
 * Starts and cancels the time that a write may take. When it is up, the item is called.
 *
 * @since 0.1.0
 * @category models
 */
export interface WriteDeadlines {
  readonly start: (onExpired: () => void) => void
  readonly cancel: (onExpired: () => void) => void
}

/**
 * Takes over a stream that has nothing of its own to say yet. The session ends with the scope, at the latest.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: {
  readonly node: CertDigest
  readonly accepted: Pick<Accepted, "id" | "since" | "source">
  readonly stream: Duplex
  /** The times in which nodes must take what they are sent. */
  readonly writeDeadlines: WriteDeadlines
}): Effect.Effect<ControlSession, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { stream } = options
    // Holds tokens of waiting peers only, so maxRelaysPerControl bounds it.
    const mailbox = new Mailbox()
    const listeners = new Set<(reason: EndReason) => void>()
    let ended: ControlStreamEnded | undefined
    let isClosed = false
    let onClosed = () => {}
    // Tokens wait for the all-clear, and while the node is being written to.
    let writing = true

    const end = (reason: EndReason) => {
      if (ended === undefined) {
        ended = new ControlStreamEnded({ reason })
        mailbox.clear()
        listeners.forEach((listener) => listener(reason))
        if (reason === "replaced") {
          endInOrder()
        } else {
          close()
        }
      }
    }

    /** Closes the stream without TLS's close_notify. */
    const close = () => {
      options.writeDeadlines.cancel(close)
      stream.destroy()
      isClosed = true
      onClosed()
    }

    /** Sends a close_notify first, which tells the node that it was replaced, in the time that a write may take. */
    const endInOrder = () => {
      options.writeDeadlines.start(close)
      stream.end(close)
    }

    const stall = () => end("stalled")

    const write = (bytes: Uint8Array) => {
      writing = true
      options.writeDeadlines.start(stall)
      stream.write(bytes, (error) => {
        options.writeDeadlines.cancel(stall)
        writing = false
        if (error) {
          end("closed")
        }
        writeTokens()
      })
    }

    const writeTokens = () => {
      if (!writing && !mailbox.isEmpty) {
        write(Buffer.concat(mailbox.takeAll().map(SpliceToken.toBytes)))
      }
    }

    yield* Effect.acquireRelease(
      Effect.sync(() => {
        stream.on("data", () => end("spoke")).on("end", () => end("closed")).on("close", () => end("closed"))
        stream.on("error", (error) => end(error instanceof Handshake.Flood ? "spoke" : "closed"))
      }),
      () => Effect.sync(() => end("shutdown"))
    )

    return {
      connection: options.accepted.id,
      node: options.node,
      since: options.accepted.since,
      source: options.accepted.source,
      deliver: (token, source) => {
        if (ended === undefined) {
          if (mailbox.isEmpty) {
            // Those that come in the same turn go out as one write.
            queueMicrotask(writeTokens)
          }
          mailbox.add(token, source)
        }
      },
      withdraw: (token, source) => mailbox.remove(token, source),
      onEnd: (listener) => {
        if (ended === undefined) {
          listeners.add(listener)
        } else {
          listener(ended.reason)
        }
        return () => listeners.delete(listener)
      },
      end,
      serve: Effect.async((resume) => {
        onClosed = () => resume(ended!)
        if (isClosed) {
          onClosed()
        } else if (ended === undefined) {
          write(Preamble.allClear)
        }
        return Effect.sync(() => {
          onClosed = () => {}
        })
      })
    }
  })
