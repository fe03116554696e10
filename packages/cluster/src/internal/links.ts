/**
 * Accepts links: connections of other members, each of which begins with a ticket. It owns a link until the ticket is redeemed;
 * the relay owns it from then on. A link without a good ticket in time is closed without a byte.
 */
import type { Here } from "@tx3/relay/Elsewhere"
import type * as Transport from "@tx3/transport/Transport"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"
import * as Expiring from "./expiring.js"
import type { Tickets } from "./tickets.js"

/** The ticket follows the connect at once. */
const awaitMs = 5_000

/** Links whose ticket has not come. Those of members have it with them; strangers should not come to the port at all. */
const awaitedMax = 1_024

/** Listens until the scope closes. Links that have not shown a ticket by then are closed. */
export const listen = (
  here: Here,
  at: Transport.Bound,
  tickets: Tickets
): Effect.Effect<Transport.Bound, Transport.ListenError, Scope.Scope> =>
  Effect.gen(function*() {
    const run = yield* FiberSet.makeRuntime()
    const awaited = yield* Expiring.make<number, Fiber.RuntimeFiber<void>>({
      keepMs: awaitMs,
      most: awaitedMax,
      onExpired: (fiber) => run(Fiber.interrupt(fiber))
    })
    let last = 0

    const redeem = (link: Transport.Connection) =>
      link.preamble.pipe(
        Effect.map((bytes) => tickets.redeem(Buffer.from(bytes).toString("base64url"))),
        Effect.orElseSucceed(() => undefined),
        Effect.onInterrupt(() => link.close),
        Effect.flatMap((reservation) =>
          reservation === undefined ? link.close : Effect.sync(() => reservation.open(link))
        )
      )

    return yield* here.transport.listen({
      ...at,
      ipv6Only: false,
      onAcceptError: ({ message }) => run(Effect.logWarning("a link was not accepted", message)),
      onConnection: (link) => {
        const id = ++last
        const fiber = run(redeem(link))
        awaited.add(id, fiber)
        fiber.addObserver(() => awaited.take(id))
      }
    })
  })
