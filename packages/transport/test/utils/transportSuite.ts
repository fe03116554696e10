/**
 * What every `Transport` has to do, tried on real sockets of 127.0.0.1 and ::1. Each subject is a file of suite/.
 *
 * Subjects use nothing but the tag and plain clients. All tests of a file run on one transport, because starting its threads
 * takes longer than most tests. Every test also checks that all its sockets are closed when its scope is, and that each
 * splice has reported exactly once.
 */
import { describe } from "@effect/vitest"
import { sharedLayer } from "@tx3/testing/sharedLayer"
import type { Transport } from "@tx3/transport"
import type { Layer, Scope } from "effect"
import { Effect } from "effect"
import { noLeak } from "./fixtures.js"

/** Declares a test of the transport that the suite runs on. */
export type Test = (title: string, body: Effect.Effect<unknown, unknown, Transport.Transport | Scope.Scope>) => void

/** The tests of one subject. */
export type Subject = (test: Test) => void

/** Runs subjects, by their names, on a transport. */
export const transportSuite = <E>(
  name: string,
  layer: Layer.Layer<Transport.Transport, E>,
  subjects: Readonly<Record<string, Subject>>
) => {
  describe(name, () => {
    const onTransport = sharedLayer(layer)
    const test: Test = (title, body) => onTransport(title, () => Effect.zipRight(noLeak, body))

    for (const [subject, tests] of Object.entries(subjects)) {
      describe(subject, () => tests(test))
    }
  })
}
