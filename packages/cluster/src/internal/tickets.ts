/**
 * Tickets: each stands for a reservation, until a link brings it. It is taken once, and is void after a few seconds or when
 * the scope closes; its places are given back then.
 */
import type { Reservation } from "@tx3/relay/Elsewhere"
import * as Effect from "effect/Effect"
import * as Runtime from "effect/Runtime"
import type * as Scope from "effect/Scope"
import { randomBytes } from "node:crypto"
import * as Expiring from "./expiring.js"

/** A look-up's answer and a connect within a cluster take milliseconds. */
const ticketMs = 5_000

const ticketBytes = 32

export interface Tickets {
  readonly issue: (reservation: Reservation) => string
  /** The reservation of a ticket, once. */
  readonly redeem: (ticket: string) => Reservation | undefined
  /** How many have been redeemed. */
  readonly redeemed: () => number
}

export const make: Effect.Effect<Tickets, never, Scope.Scope> = Effect.gen(function*() {
  const run = Runtime.runFork(yield* Effect.runtime())
  const issued = new Set<Reservation>()
  let redeemed = 0

  const giveBack = (reservation: Reservation) =>
    Effect.suspend(() => issued.delete(reservation) ? reservation.giveBack : Effect.void)

  yield* Effect.addFinalizer(() => Effect.forEach(issued, giveBack, { discard: true }))
  // Each holds a place of maxInboundConnections, which bounds them.
  const tickets = yield* Expiring.make<string, Reservation>({
    keepMs: ticketMs,
    most: Infinity,
    onExpired: (reservation) => run(giveBack(reservation))
  })

  return {
    issue: (reservation) => {
      const ticket = randomBytes(ticketBytes).toString("base64url")
      tickets.add(ticket, reservation)
      issued.add(reservation)
      return ticket
    },
    redeem: (ticket) => {
      const reservation = tickets.take(ticket)
      if (reservation !== undefined) {
        issued.delete(reservation)
        redeemed++
      }
      return reservation
    },
    redeemed: () => redeemed
  }
})
