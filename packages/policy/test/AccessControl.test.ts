import { HttpClient, HttpClientResponse } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { AccessControl, type LiveSettings, VolumeQuota } from "@tx3/policy"
import { Source } from "@tx3/protocol"
import { Access, type RelayError } from "@tx3/relay"
import { Effect, Layer, TestClock } from "effect"
import { digestOf, liveSettings, reload } from "./utils/operated.js"

const [ours, theirs, other] = [digestOf(1), digestOf(2), digestOf(3)]

interface Controlled extends Access.AccessPolicy {
  readonly control: typeof AccessControl.AccessControl.Service
  readonly quota: { state: VolumeQuota.State }
  readonly callout: { asked: number; during: Effect.Effect<unknown> }
  /** Another `access` from now on. */
  readonly set: (access: unknown) => Effect.Effect<void, unknown, LiveSettings.LiveSettings>
}

/** Access as these settings say it, with a callout that lets everybody in. */
const withAccess = <A, E>(
  access: unknown,
  body: (controlled: Controlled) => Effect.Effect<A, E, LiveSettings.LiveSettings>
) => {
  let current = access
  const quota: Controlled["quota"] = { state: "within" }
  const callout: Controlled["callout"] = { asked: 0, during: Effect.void }
  const client = HttpClient.make((request) =>
    Effect.suspend(() => {
      callout.asked++
      return Effect.as(callout.during, HttpClientResponse.fromWeb(request, new Response(null, { status: 200 })))
    })
  )
  return Effect.gen(function*() {
    const set = (access: unknown) =>
      Effect.suspend(() => {
        current = access
        return reload
      })
    const control = yield* AccessControl.AccessControl
    return yield* body({ ...(yield* Access.Access), control, quota, callout, set })
  }).pipe(Effect.provide(
    AccessControl.layer.pipe(
      Layer.provide(Layer.mergeAll(
        Layer.succeed(HttpClient.HttpClient, client),
        Layer.succeed(VolumeQuota.VolumeQuota, {
          add: () => {},
          used: () => 0,
          month: () => "2026-11",
          state: () => quota.state
        })
      )),
      Layer.provideMerge(liveSettings(() => ({ access: current })))
    )
  ))
}

const isLet = (question: Effect.Effect<void, RelayError.Rejected>) =>
  Effect.match(question, { onFailure: ({ reason }) => reason, onSuccess: () => "in" as const })

const all = <A>(of: ReadonlyArray<A>, question: (a: A) => Effect.Effect<void, RelayError.Rejected>) =>
  Effect.forEach(of, (a) => isLet(question(a)))

const addresses = ["10.0.0.1", "10.1.0.1", "192.0.2.1", "2001:db8::1"]

describe("AccessControl", () => {
  it.effect("is open to everybody by default", () =>
    withAccess({}, ({ controlStream, node, peer }) =>
      Effect.gen(function*() {
        assert.deepEqual(yield* all(addresses, controlStream), ["in", "in", "in", "in"])
        assert.deepEqual(yield* all([ours, theirs], (digest) => node(digest, "10.0.0.1")), ["in", "in"])
        assert.deepEqual(yield* all(addresses, (address) => peer(ours, address)), ["in", "in", "in", "in"])
      })))

  const lists = { allow: ["10.0.0.0/8", "2001:db8::/32"], deny: ["10.1.0.0/16"] }
  const byLists = ["in", "denied", "denied", "in"]
  const noBody = ["denied", "denied", "denied", "denied"]
  const everybody = ["in", "in", "in", "in"]

  it.effect("lets register who is on no list to deny, and on that to allow if there is one", () =>
    Effect.gen(function*() {
      const cases: ReadonlyArray<readonly [unknown, Array<"in" | "denied">]> = [
        [{ deny: [theirs] }, ["in", "denied", "in"]],
        [{ allow: [ours] }, ["in", "denied", "denied"]],
        [{ allow: [ours, theirs], deny: [theirs] }, ["in", "denied", "denied"]],
        [{ allow: [] }, ["denied", "denied", "denied"]]
      ]
      for (const [nodes, expected] of cases) {
        yield* withAccess({ nodes }, ({ controlStream, node, peer }) =>
          Effect.gen(function*() {
            assert.deepEqual(yield* all([ours, theirs, other], (digest) => node(digest, "10.0.0.1")), expected)
            assert.deepEqual(yield* all(addresses, controlStream), everybody)
            assert.deepEqual(yield* all(addresses, (address) => peer(theirs, address)), everybody)
          }))
      }
    }))

  it.effect("control streams and peers have lists of their own, by address", () =>
    Effect.gen(function*() {
      yield* withAccess({ controlStreams: lists, peers: { allow: [] } }, ({ controlStream, node, peer }) =>
        Effect.gen(function*() {
          assert.deepEqual(yield* all(addresses, controlStream), byLists)
          assert.deepEqual(
            yield* all(addresses, (address) =>
              peer(ours, address)),
            noBody
          )
          assert.strictEqual(yield* isLet(node(ours, "10.0.0.1")), "in")
        }))
      yield* withAccess({ controlStreams: { allow: [] }, peers: lists }, ({ controlStream, peer }) =>
        Effect.gen(function*() {
          assert.deepEqual(yield* all(addresses, controlStream), noBody)
          assert.deepEqual(
            yield* all(addresses, (address) =>
              peer(ours, address)),
            byLists
          )
        }))
    }))

  it.effect("a node's peers have a list beside that of all peers", () =>
    withAccess(
      { peers: { deny: ["2001:db8::/64"] }, peersOf: { [ours]: lists } },
      ({ peer }) =>
        Effect.gen(function*() {
          assert.deepEqual(yield* all(addresses, (address) => peer(ours, address)), [
            "in",
            "denied",
            "denied",
            "denied"
          ])
          assert.deepEqual(yield* all(addresses, (address) => peer(theirs, address)), ["in", "in", "in", "denied"])
        })
    ))

  it.effect("refuses peers, and nobody else, from the hard threshold of the month's volume on", () =>
    withAccess({ peers: { deny: ["10.0.0.1"] } }, ({ controlStream, node, peer, quota }) =>
      Effect.gen(function*() {
        quota.state = "soft"
        assert.strictEqual(yield* isLet(peer(ours, "192.0.2.1")), "in")
        quota.state = "hard"
        assert.strictEqual(yield* isLet(peer(ours, "192.0.2.1")), "quota")
        assert.strictEqual(yield* isLet(peer(ours, "10.0.0.1")), "denied")
        assert.strictEqual(yield* isLet(controlStream("192.0.2.1")), "in")
        assert.strictEqual(yield* isLet(node(ours, "192.0.2.1")), "in")
      })))

  it.effect("lists hold as they are after a reload", () =>
    withAccess(
      { nodes: { deny: [ours] }, peers: lists, peersOf: { [ours]: { allow: [] } } },
      ({ node, peer, set }) =>
        Effect.gen(function*() {
          yield* set({ nodes: { deny: [theirs] } })
          assert.deepEqual(yield* all([ours, theirs], (digest) => node(digest, "10.0.0.1")), ["in", "denied"])
          assert.deepEqual(yield* all(addresses, (address) => peer(ours, address)), everybody)
        })
    ))

  it.effect("a banned node does not register, has no peers, and is meant wherever it is", () =>
    withAccess({}, ({ control, controlStream, node, peer }) =>
      Effect.gen(function*() {
        const isMeant = yield* control.ban(ours)
        const source = Source.fromAddress("192.0.2.1")
        assert.deepEqual([isMeant(ours, source), isMeant(theirs, source)], [true, false])
        assert.deepEqual(yield* all([ours, theirs], (digest) => node(digest, "192.0.2.1")), ["denied", "in"])
        assert.deepEqual(yield* all([ours, theirs], (digest) => peer(digest, "192.0.2.1")), ["denied", "in"])
        assert.strictEqual(yield* isLet(controlStream("192.0.2.1")), "in")
        assert.isFalse(yield* control.unban(theirs))
        assert.isTrue(yield* control.unban(ours))
        assert.isFalse(yield* control.unban(ours))
        assert.deepEqual(yield* all([ours], (digest) => node(digest, "192.0.2.1")), ["in"])
        assert.deepEqual(yield* all([ours], (digest) => peer(digest, "192.0.2.1")), ["in"])
      })))

  it.effect("a banned range begins no control stream, registers no node, is no peer, and is meant by its sources", () =>
    withAccess({}, ({ control, controlStream, node, peer }) =>
      Effect.gen(function*() {
        const questions = [controlStream, (address: string) =>
          node(ours, address), (address: string) =>
          peer(ours, address)]
        for (const [who, expected] of [["10.0.0.9/15", [0, 1]], ["192.0.2.1", [2]], ["2001:db8::1", [3]]] as const) {
          const isMeant = yield* control.ban(who)
          const byBan = addresses.map((_, n) =>
            (expected as ReadonlyArray<number>).includes(n) ? "denied" : "in"
          )
          for (const question of questions) {
            assert.deepEqual(yield* all(addresses, question), byBan)
          }
          assert.deepEqual(
            addresses.map((address) => isMeant(ours, Source.fromAddress(address)) ? "denied" : "in"),
            byBan
          )
          assert.isTrue(yield* control.unban(who))
          assert.deepEqual(yield* all(addresses, controlStream), everybody)
        }
      })))

  it.effect("bans are listed in one form, count once, and survive a reload", () =>
    withAccess({}, ({ control, node, peer, set }) =>
      Effect.gen(function*() {
        yield* TestClock.setTime(5_000)
        yield* control.ban(ours)
        yield* TestClock.setTime(6_000)
        for (const who of ["192.0.2.77/24", "192.0.2.0/24", "::ffff:198.51.100.1", ours, "2001:DB8::/32"]) {
          yield* control.ban(who)
        }
        yield* set({ nodes: { allow: [ours] }, peers: { allow: ["192.0.2.0/24"] } })
        assert.deepEqual(control.bans(), [
          { who: ours, since: 5_000 },
          { who: "192.0.2.0/24", since: 6_000 },
          { who: "198.51.100.1", since: 6_000 },
          { who: "2001:db8::/32", since: 6_000 }
        ])
        assert.strictEqual(yield* isLet(node(ours, "10.0.0.1")), "denied")
        assert.strictEqual(yield* isLet(peer(theirs, "192.0.2.1")), "denied")
        assert.isTrue(yield* control.unban("192.0.2.1/24"))
        assert.strictEqual(control.bans().length, 3)
        assert.strictEqual(yield* isLet(peer(theirs, "192.0.2.1")), "in")
      })))

  it.effect("what names nobody cannot be banned", () =>
    withAccess({}, ({ control }) =>
      Effect.gen(function*() {
        for (const who of ["", "fred", ours.slice(0, 8), "10.0.0.0/33", "10.0.0", "127.0.0.1:80"]) {
          const error = yield* Effect.flip(control.ban(who))
          assert.strictEqual(error.message, `${who} is neither a node's digest nor an IP address or a CIDR range`)
          assert.isFalse(yield* control.unban(who))
        }
        assert.deepEqual(control.bans(), [])
      })))

  it.effect("holds 10,000 bans", () =>
    withAccess({}, ({ control, controlStream }) =>
      Effect.gen(function*() {
        for (let n = 0; n < 10_000; n++) {
          yield* control.ban(`10.0.${n >> 8}.${n & 255}`)
        }
        assert.strictEqual(
          (yield* Effect.flip(control.ban("10.9.9.9"))).message,
          "there are 10000 bans already; take some back, or put them into a denyFile of access"
        )
        assert.strictEqual(yield* isLet(controlStream("10.9.9.9")), "in")
        yield* control.ban("10.0.0.0")
        yield* control.unban("10.0.0.0")
        yield* control.ban("10.9.9.9")
        assert.strictEqual(yield* isLet(controlStream("10.9.9.9")), "denied")
      })))

  const callout = { url: "http://127.0.0.1:1/" }

  it.effect("the callout is asked about those whom the lists and bans let in, and about no peer", () =>
    withAccess(
      { nodes: { deny: [theirs] }, callout },
      ({ callout, control, controlStream, node, peer }) =>
        Effect.gen(function*() {
          yield* control.ban(other)
          yield* controlStream("10.0.0.1")
          yield* peer(ours, "10.0.0.1")
          assert.deepEqual(yield* all([theirs, other], (digest) => node(digest, "10.0.0.1")), ["denied", "denied"])
          assert.strictEqual(callout.asked, 0)
          assert.strictEqual(yield* isLet(node(ours, "10.0.0.1")), "in")
          assert.strictEqual(callout.asked, 1)
        })
    ))

  it.effect("its answers hold until its setting changes", () =>
    withAccess({ callout }, ({ callout: { ...before }, callout: state, node, set }) =>
      Effect.gen(function*() {
        const asked = (times: number) =>
          Effect.map(node(ours, "10.0.0.1"), () => assert.strictEqual(state.asked - before.asked, times))
        yield* asked(1)
        yield* set({ callout, peers: { deny: ["10.0.0.0/8"] } })
        yield* asked(1)
        yield* set({ callout: { ...callout, cacheMs: 1_000_000 } })
        yield* asked(2)
        yield* set({})
        yield* asked(2)
        yield* set({ callout: { ...callout, cacheMs: 1_000_000 } })
        yield* asked(3)
      })))

  it.effect("a ban or a list that comes while the callout is asked holds", () =>
    withAccess({ callout }, ({ callout: state, control, node, set }) =>
      Effect.gen(function*() {
        const settings = yield* Effect.context<LiveSettings.LiveSettings>()
        const deniedBy = (during: Effect.Effect<unknown, unknown, LiveSettings.LiveSettings>) =>
          Effect.gen(function*() {
            state.during = Effect.orDie(Effect.provide(during, settings))
            assert.strictEqual(yield* isLet(node(ours, `10.0.0.${state.asked}`)), "denied")
          })
        yield* deniedBy(control.ban(ours))
        yield* control.unban(ours)
        yield* deniedBy(control.ban("10.0.0.0/8"))
        yield* control.unban("10.0.0.0/8")
        yield* deniedBy(set({ nodes: { allow: [] }, callout }))
        assert.strictEqual(state.asked, 3)
      })))
})
