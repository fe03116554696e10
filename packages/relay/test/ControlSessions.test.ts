import { assert, describe, it } from "@effect/vitest"
import { CertDigest } from "@tx3/protocol"
import { ControlSessions, Limiter, RelayConfig } from "@tx3/relay"
import { PortableTransport } from "@tx3/transport"
import { Effect, Exit, Layer, Scope } from "effect"
import { randomBytes } from "node:crypto"
import { fakeSession } from "./utils/fakes.js"
import type { Settings } from "./utils/withRelay.js"

const withSessions = <A, E>(
  settings: Settings,
  body: (
    sessions: typeof ControlSessions.ControlSessions.Service,
    counts: () => ReadonlyMap<string, number>
  ) => Effect.Effect<A, E, Scope.Scope>
) =>
  Effect.gen(function*() {
    const sessions = yield* ControlSessions.ControlSessions
    const limiter = yield* Limiter.Limiter
    const counts = () => limiter.counts().controlStreams
    yield* Effect.scoped(body(sessions, counts))
    assert.deepStrictEqual(Array.from(sessions.all()), [])
    assert.strictEqual(counts().size, 0)
  }).pipe(Effect.provide(
    ControlSessions.layer.pipe(
      Layer.provideMerge(Limiter.layer),
      Layer.provide(PortableTransport.layer),
      Layer.provide(RelayConfig.layer({ bind: ["tx3-rst://192.0.2.9:1"], ...settings }))
    )
  ))

const digest = () => CertDigest.fromBytes(randomBytes(32))

describe("ControlSessions", () => {
  it.effect("finds a registered node until its scope is closed", () =>
    withSessions({}, (sessions) =>
      Effect.gen(function*() {
        const { session } = fakeSession()
        const scope = yield* Scope.make()
        assert.isUndefined(sessions.find(session.node))
        yield* Scope.extend(sessions.register(session), scope)
        assert.strictEqual(sessions.find(session.node), session)
        assert.deepStrictEqual(Array.from(sessions.all()), [session])
        assert.isUndefined(sessions.find(digest()))
        yield* Scope.close(scope, Exit.void)
        assert.isUndefined(sessions.find(session.node))
      })))

  it.effect("6.1 newest wins, and a session takes only itself out", () =>
    withSessions({}, (sessions, counts) =>
      Effect.gen(function*() {
        const node = digest()
        const [first, second, third] = [fakeSession({ node }), fakeSession({ node }), fakeSession({ node })]
        const scopes = yield* Effect.all([Scope.make(), Scope.make(), Scope.make()])

        yield* Scope.extend(sessions.register(first.session), scopes[0])
        yield* Scope.extend(sessions.register(second.session), scopes[1])
        assert.deepStrictEqual(first.ended, ["replaced"])
        assert.strictEqual(sessions.find(node), second.session)
        assert.deepStrictEqual(Array.from(counts()), [["192.0.2.1", 1]])

        yield* Scope.extend(sessions.register(third.session), scopes[2])
        yield* Scope.close(scopes[0], Exit.void)
        yield* Scope.close(scopes[1], Exit.void)
        assert.strictEqual(sessions.find(node), third.session)
        assert.deepStrictEqual(third.ended, [])
        assert.deepStrictEqual(Array.from(counts()), [["192.0.2.1", 1]])

        yield* Scope.close(scopes[2], Exit.void)
        assert.isUndefined(sessions.find(node))
      })))

  it.effect("whoever is told that a session was replaced finds the new one", () =>
    withSessions({}, (sessions) =>
      Effect.gen(function*() {
        const node = digest()
        const [old, newer] = [fakeSession({ node }), fakeSession({ node })]
        let found: unknown
        yield* sessions.register(old.session)
        old.session.onEnd(() => {
          found = sessions.find(node)
        })
        yield* sessions.register(newer.session)
        assert.strictEqual(found, newer.session)
      })))

  it.effect("6.2 a node takes its predecessor's place at the limit, and a stranger does not", () =>
    withSessions({ maxControlStreams: 1, maxControlStreamsPerIp: 1 }, (sessions) =>
      Effect.gen(function*() {
        const node = digest()
        yield* sessions.register(fakeSession({ node }).session)
        const { reason } = yield* Effect.flip(sessions.register(fakeSession().session))
        assert.strictEqual(reason, "maxControlStreams")
        yield* sessions.register(fakeSession({ node }).session)
        yield* sessions.register(fakeSession({ node, address: "192.0.2.77" }).session)
        assert.strictEqual(sessions.find(node)?.source, "192.0.2.77")
      })))

  it.effect("6.2 a refused newcomer leaves its predecessor alone", () =>
    withSessions({ maxControlStreamsPerIp: 1 }, (sessions, counts) =>
      Effect.gen(function*() {
        const node = digest()
        const predecessor = fakeSession({ node, address: "192.0.2.1" })
        yield* sessions.register(predecessor.session)
        yield* sessions.register(fakeSession({ address: "192.0.2.2" }).session)
        const newcomer = fakeSession({ node, address: "192.0.2.2" })
        const { reason } = yield* Effect.flip(sessions.register(newcomer.session))
        assert.strictEqual(reason, "maxControlStreamsPerIp")
        assert.deepStrictEqual(predecessor.ended, [])
        assert.strictEqual(sessions.find(node), predecessor.session)
        assert.deepStrictEqual(Array.from(counts()), [["192.0.2.1", 1], ["192.0.2.2", 1]])
      })))
})
