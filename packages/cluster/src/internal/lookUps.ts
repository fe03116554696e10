/**
 * Finds the member that has what a preamble names. It bounds what strangers can cause: look-ups at a time, in all and of each
 * source, and how often the same unknown digest is asked for. A peer of a node that is about to move waits until it has.
 */
import * as CertDigest from "@tx3/protocol/CertDigest"
import * as MonotonicTime from "@tx3/protocol/MonotonicTime"
import type { Source } from "@tx3/protocol/Source"
import type { LookUpOutcome, View } from "@tx3/relay/Elsewhere"
import { Rejected } from "@tx3/relay/RelayError"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberId from "effect/FiberId"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { Directory } from "../Directory.js"
import * as Expiring from "./expiring.js"
import * as Messages from "./messages.js"

/** Connections that are looked for at a time, with the peers that wait for moving nodes. */
const lookUpsMax = 1_024

/** The same of one source. */
const lookUpsPerSourceMax = 256

/** A digest that nobody has is not asked for again within this time, unless it registers. */
const unknownMs = 1_000

/** Digests that are remembered as unknown. */
const unknownMax = 16_384

/** How long peers of a moving node wait for it: a node comes back within its backoff. */
const movingMs = 5_000

/** Nodes of draining members. */
const movingMax = 65_536

/** The bytes of a token that say which member made it. */
export const nameBytes = 8

export const nameOf = (preamble: Uint8Array) => Buffer.from(preamble.subarray(0, nameBytes)).toString("base64url")

/** Where a connection may be forwarded to, and whether it asked for a node; if not it brings a token. */
export interface Found {
  readonly link: Messages.Place
  readonly ticket: Uint8Array
  readonly node: CertDigest.CertDigest | undefined
}

export interface LookUps {
  /** Returns an `Exit` where it needs no question to know: the connection needs no fiber then. */
  readonly find: (preamble: Uint8Array, from: {
    readonly address: string
    readonly source: Source
  }) => Effect.Effect<Found, Rejected>
  /** A node has registered: those that wait for it go on. */
  readonly registered: (node: CertDigest.CertDigest) => void
  /** A node is about to register with another member. */
  readonly moving: (node: CertDigest.CertDigest) => void
  /** Those in progress, and how those that are over ended. */
  readonly counts: () => Pick<View, "lookingUp" | "lookUpSeconds" | "lookUps">
}

// Most look-ups end with one of these, so they are made once: an error costs its stack.
const unknownPreamble = Exit.fail(new Rejected({ reason: "unknownPreamble" }))
const maxLookUps = Exit.fail(new Rejected({ reason: "maxLookUps" }))
const clusterUnavailable = Exit.fail(new Rejected({ reason: "clusterUnavailable" }))

const outcomeOf = (exit: Exit.Exit<Found, Rejected>): LookUpOutcome => {
  if (Exit.isSuccess(exit)) {
    return "found"
  }
  switch (Option.getOrUndefined(Cause.failureOption(exit.cause))?.reason) {
    case "refusedElsewhere":
      return "refused"
    case "clusterUnavailable":
      return "unavailable"
  }
  return "unknown"
}

export const make = (options: {
  readonly directory: Directory["Type"]
  readonly name: string
  /** The subject at which the member that has this node, or made this token, answers. */
  readonly subjectOf: (preamble: Uint8Array) => string
}): Effect.Effect<LookUps, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { directory } = options
    const unknown = yield* Expiring.make<CertDigest.CertDigest, void>({ keepMs: unknownMs, most: unknownMax })
    const moving = yield* Expiring.make<CertDigest.CertDigest, Deferred.Deferred<void>>({
      keepMs: movingMs,
      most: movingMax,
      onExpired: (moved) => Deferred.unsafeDone(moved, Effect.void)
    })
    const ofSource = new Map<Source, number>()
    const currentTimeMillis = MonotonicTime.millis(yield* Effect.clock)
    const totals = { found: 0, unknown: 0, refused: 0, unavailable: 0, limited: 0 }
    let all = 0
    let seconds = 0

    const isFull = (source: Source) => all >= lookUpsMax || (ofSource.get(source) ?? 0) >= lookUpsPerSourceMax

    const limited = () => {
      totals.limited++
      return maxLookUps
    }

    /** Holds a place while the effect runs, and counts how it ended. */
    const within = (source: Source, effect: Effect.Effect<Found, Rejected>) =>
      Effect.acquireUseRelease(
        Effect.suspend(() => {
          if (isFull(source)) {
            return limited()
          }
          all++
          ofSource.set(source, (ofSource.get(source) ?? 0) + 1)
          return Effect.succeed(currentTimeMillis())
        }),
        () => effect,
        (startedMs, exit) =>
          Effect.sync(() => {
            totals[outcomeOf(exit)]++
            seconds += (currentTimeMillis() - startedMs) / 1000
            all--
            const left = ofSource.get(source)! - 1
            if (left === 0) {
              ofSource.delete(source)
            } else {
              ofSource.set(source, left)
            }
          })
      )

    const beginMove = (node: CertDigest.CertDigest) => {
      if (!moving.has(node)) {
        moving.add(node, Deferred.unsafeMake(FiberId.none))
      }
    }

    /**
     * Asks which member has a node or made a token; undefined if none answers. While the node moves to another member, the
     * question waits until it has registered there, for `movingMs` at most.
     */
    const ask = (node: CertDigest.CertDigest, subject: string, question: string) => {
      const asked = Effect.matchEffect(directory.ask(subject, question), {
        onFailure: ({ reason }) => reason === "nobody" ? Effect.succeed(undefined) : clusterUnavailable,
        onSuccess: (text) => {
          const answer = Messages.answer.decode(text)
          if (answer?._tag === "Moves") {
            beginMove(node)
          }
          return Effect.succeed(answer)
        }
      })
      return Effect.suspend(() => {
        const move = moving.get(node)
        return move === undefined ? asked : Effect.zipRight(Deferred.await(move), asked)
      })
    }

    const found = (answer: Messages.Answer | undefined, node: CertDigest.CertDigest) => {
      switch (answer?._tag) {
        case "Ticket":
          return Effect.succeed<Found>({
            link: answer.link,
            node: answer.isPeer ? node : undefined,
            ticket: Buffer.from(answer.ticket, "base64url")
          })
        case "Refused":
          return new Rejected({ reason: "refusedElsewhere", detail: answer.reason })
        case undefined:
          unknown.add(node)
      }
      return unknownPreamble
    }

    const search = (
      node: CertDigest.CertDigest,
      preamble: Uint8Array,
      address: string
    ): Effect.Effect<Found, Rejected> => {
      const asked = ask(
        node,
        options.subjectOf(preamble),
        Messages.question.encode({ _tag: "Find", preamble: node as never, address })
      )
      return Effect.flatMap(
        asked,
        (answer) =>
          answer?._tag === "Moves" ? Effect.flatMap(asked, (answer) => found(answer, node)) : found(answer, node)
      )
    }

    return {
      find: (preamble, { address, source }) => {
        const node = CertDigest.fromBytes(preamble)
        if (nameOf(preamble) === options.name || unknown.has(node)) {
          totals.unknown++
          return unknownPreamble
        }
        return isFull(source) ? limited() : within(source, Effect.suspend(() => search(node, preamble, address)))
      },
      registered: (node) => {
        unknown.take(node)
        const move = moving.take(node)
        if (move !== undefined) {
          Deferred.unsafeDone(move, Effect.void)
        }
      },
      moving: beginMove,
      counts: () => ({ lookingUp: all, lookUps: { ...totals }, lookUpSeconds: seconds })
    }
  })
