/** The messages of the commands of `tx3` on stderr, about the nodes and passages that they run. */
import { printable } from "@tx3/command/Printable"
import { bytes, duration } from "@tx3/command/Table"
import * as RelayRegistration from "@tx3/node/RelayRegistration"
import type * as Tx3Node from "@tx3/node/Tx3Node"
import type { CertDigest } from "@tx3/protocol/CertDigest"
import * as MonotonicTime from "@tx3/protocol/MonotonicTime"
import type * as Expose from "@tx3/reach/Expose"
import type * as Forward from "@tx3/reach/Forward"
import * as KnownFile from "@tx3/reach/KnownFile"
import type * as Passage from "@tx3/reach/Passage"
import type * as Up from "@tx3/reach/Up"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"

export type Tell = (text: string) => Effect.Effect<void>

export const tell: Tell = (text) => Console.error(`tx3: ${printable(text)}`)

/** Tells of one of several services. */
export const reporterOf = (tell: Tell) => (service: string, names: KnownFile.Names): Up.Reporter => {
  const about: Tell = (text) => tell(`${service}: ${text}`)
  return { tell: about, onNode: (node) => registrations(about, node), onEvent: events(about, names) }
}

/** Tells of every change of a node's registrations from now on; of another machine's with its identity only where that is wanted. */
export const registrations = (tell: Tell, node: Tx3Node.Tx3Node["Type"], { contests = true } = {}) =>
  Effect.forEach(node.registrations, ({ relay, state }) =>
    Effect.gen(function*() {
      const now = yield* state.get
      let wasLive = now._tag === "Live"
      let contestTold = false
      yield* state.changes.pipe(
        Stream.filter((state) => state !== now),
        Stream.runForEach(RelayRegistration.State.$match({
          Connecting: () => Effect.void,
          Live: ({ contested }) => {
            const again = wasLive ? "again " : ""
            wasLive = true
            return contestTold && contested !== undefined ? Effect.void : tell(`registered ${again}at ${relay}`)
          },
          Lost: ({ because }) => {
            // Two machines with one identity take the registration from each other for as long as they run.
            const toldBefore = contestTold
            contestTold = because.isContested
            return contestTold && (toldBefore || !contests) ? Effect.void : tell(`${because.message}; trying again`)
          }
        })),
        Effect.forkScoped
      )
    }), { discard: true })

/** How often something is told that strangers cause, at most: they can come as often as they like. */
const strangersEveryMs = 1_000

/** Tells what strangers cause, and with the next how many were not told of. */
export const throttled = (tell: Tell, andMore: (untold: number) => string): Tell => {
  let quietUntil = -Infinity
  let untold = 0
  return (text) =>
    Effect.flatMap(Effect.clock, (clock) => {
      const now = MonotonicTime.millis(clock)()
      if (now < quietUntil) {
        untold++
        return Effect.void
      }
      const more = untold === 0 ? "" : andMore(untold)
      quietUntil = now + strangersEveryMs
      untold = 0
      return tell(`${text}${more}`)
    })
}

/** Tells who came and went, and what went wrong. */
export const events = (tell: Tell, names: KnownFile.Names) => {
  const nameOf = (digest: CertDigest) => Effect.map(names(digest), (name) => KnownFile.called(digest, name))
  const tellRefused = throttled(
    tell,
    (more) => `; and so were ${more} more connections since the last that was told of`
  )

  const tellDenied = throttled(tell, (more) => `; and so for ${more} more since the last that was told of`)

  return (event: Expose.Event | Forward.Event): Effect.Effect<void> => {
    switch (event._tag) {
      case "Opened":
        return Effect.flatMap(nameOf(event.passage.peer), (name) => tell(`connected with ${name}`))
      case "Closed":
        return Effect.flatMap(
          nameOf(event.passage.peer),
          (name) =>
            tell(
              `disconnected from ${name} after ${lasted(event.passage)}${
                event.because ? `: ${event.because.message}` : ""
              }`
            )
        )
      case "Refused":
        return Effect.flatMap(
          nameOf(event.peer),
          (name) => tellRefused(`refused ${name}, who is not allowed to connect`)
        )
      case "Unavailable":
        return Effect.flatMap(nameOf(event.peer), (name) => tell(`${event.because.message}; ${name} wanted it`))
      case "Mismatched":
        return Effect.flatMap(
          nameOf(event.peer),
          (name) =>
            tell(
              event.service === "udp"
                ? `${name} connected as to a TCP service, and was told that this is a UDP one`
                : `${name} connected, but spoke no SOCKS5, or asked for more than to connect`
            )
        )
      case "Denied":
        return Effect.flatMap(nameOf(event.peer), (name) => tellDenied(`${event.because.message}; ${name} wanted it`))
      case "Waiting":
        return tell(`${event.because.message}; trying again for a while`)
      case "Failed":
        return tell(event.because.message)
    }
  }
}

const lasted = ({ age, carried }: Passage.Passage) => {
  const { fromPeer, toPeer } = carried()
  const milliseconds = age()
  const time = milliseconds < 1_000 ? `${milliseconds} ms` : duration(milliseconds / 1_000)
  return `${time}, ${bytes(fromPeer)} from there and ${bytes(toPeer)} to there`
}
