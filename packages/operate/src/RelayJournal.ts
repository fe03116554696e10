/**
 * Keeps the last events of a relay as text. It provides the relay's `RelayEvents` and passes each event on to its
 * followers. It ends with its layer's scope.
 *
 * @since 0.1.0
 */
import * as CertDigest from "@tx3/protocol/CertDigest"
import * as MonotonicTime from "@tx3/protocol/MonotonicTime"
import { RelayConfig } from "@tx3/relay/RelayConfig"
import type { RelayEvent } from "@tx3/relay/RelayEvents"
import { RelayEvents } from "@tx3/relay/RelayEvents"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Words from "./internal/words.js"
import type { Event } from "./RelayStatus.js"

/**
 * The last events of a relay, and a way to hear of the next ones.
 *
 * @since 0.1.0
 * @category services
 */
export class RelayJournal extends Context.Tag("@tx3/operate/RelayJournal")<RelayJournal, {
  /** The last hundred, the oldest first. Of what happens often the first is there, and every ten seconds how many more. */
  readonly recent: () => ReadonlyArray<Event>

  /** Notes what an operator did. */
  readonly note: (text: string) => void

  /** Calls `listener` for each event of the relay, in the event loop, until the scope closes. */
  readonly follow: (listener: (event: RelayEvent) => void) => Effect.Effect<void, never, Scope.Scope>
}>() {}

const kept = 100

/** An event without its text. The journal keeps the first and the last of repeated events, and writes the text of those only. */
interface Unwritten extends Omit<Event, "text"> {
  readonly text: () => string
}

const written = (event: Unwritten): Event => ({ ...event, text: event.text() })

/** Of what happens more often than this, only the number is kept. */
const onceInMs = 10_000

/**
 * Also the relay's `RelayEvents`. Where a limit refuses a connection, the text has the number that `RelayConfig` says then.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<
  RelayEvents | RelayJournal,
  never,
  RelayConfig
> = Layer.effectContext(Effect.gen(function*() {
  const clock = yield* Clock.clockWith(Effect.succeed)
  const config = yield* RelayConfig
  const currentTimeMillis = MonotonicTime.millis(clock)
  const listeners = new Set<(event: RelayEvent) => void>()
  const events: Array<Event> = []
  const repetitions = new Map<string, { readonly since: number; count: number; last: Unwritten }>()

  const add = (event: Event) => {
    events.push(event)
    if (events.length > kept) {
      events.shift()
    }
  }

  /** Adds an event, unless there was one about the same not long ago. */
  const keep = (kind: Event["kind"], about: string, text: () => string) => {
    const event = { at: clock.unsafeCurrentTimeMillis(), kind, text }
    const now = currentTimeMillis()
    tellRepetitions(now)
    const repeated = repetitions.get(about)
    if (repeated === undefined) {
      repetitions.set(about, { count: 0, last: event, since: now })
      add(written(event))
    } else {
      repeated.count++
      repeated.last = event
    }
  }

  const tellRepetitions = (now: number) => {
    for (const [about, { count, last, since }] of repetitions) {
      if (now - since >= onceInMs) {
        repetitions.delete(about)
        if (count > 0) {
          const { text, ...event } = written(last)
          add({ ...event, text: `${count} more like this; the last: ${text}` })
        }
      }
    }
  }

  const publish = (event: RelayEvent) => {
    switch (event._tag) {
      case "ControlStreamBegan": {
        keep("node", "node registered", () => `node ${CertDigest.short(event.node)} registered from ${event.source}`)
        break
      }
      case "ControlStreamEnded": {
        keep(
          "node",
          `node ended, ${event.reason}`,
          () => `node ${CertDigest.short(event.node)} from ${event.source} is gone: ${Words.end(event.reason)}`
        )
        break
      }
      case "Carried":
      case "SpliceBegan": {
        break
      }
      case "SpliceEnded": {
        keep(
          "splice",
          `splice ended, ${event.outcome}`,
          () =>
            `${event.source} with node ${CertDigest.short(event.node)}: ${Words.outcome(event.outcome)}, after ` +
            `${Words.seconds(event.durationMs)} and ${Words.bytes(event.fromLeft + event.fromRight)}`
        )
        break
      }
      case "Rejected": {
        keep(
          "rejection",
          `rejected, ${event.reason}`,
          () => `${event.source}: ${Words.rejection(event.reason, config)}`
        )
        break
      }
    }
    listeners.forEach((listener) => listener(event))
  }

  return Context.make(RelayJournal, {
    recent: () => {
      tellRepetitions(currentTimeMillis())
      return Array.from(events)
    },
    note: (text) => add({ at: clock.unsafeCurrentTimeMillis(), kind: "operator", text }),
    follow: (listener) =>
      Effect.asVoid(Effect.acquireRelease(
        Effect.sync(() => listeners.add(listener)),
        () => Effect.sync(() => listeners.delete(listener))
      ))
  }).pipe(Context.add(RelayEvents, { publish }))
}))
