/**
 * A relay with all that an operator puts around it, under load, while its settings change.
 */
import { assert, describe, it } from "@effect/vitest"
import { RelayTest } from "@tx3/relay"
import type { Scope } from "effect"
import { Effect, Logger } from "effect"
import { randomBytes } from "node:crypto"
import { mkdtempSync, rmSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { logTo } from "../../policy/test/utils/operated.js"
import type { Operated } from "./utils/operatedRelay.js"
import { until, withOperatedRelay } from "./utils/operatedRelay.js"

const sum = ({ fromLeft, fromRight }: { readonly fromLeft: number; readonly fromRight: number }) => fromLeft + fromRight

/** Sends as much as is taken, until the scope closes. */
const pump = (stream: RelayTest.RawStream) =>
  Effect.forkScoped(Effect.ignore(Effect.forever(stream.send(Buffer.alloc(64 * 1024)))))

const discard = (stream: RelayTest.RawStream) => Effect.sync(() => void stream.stream.resume())

describe("a reload", () => {
  it.live("under 200 live splices drops none, and what it says holds for whoever comes after", () =>
    withOperatedRelay({ maxRelaysPerControl: 200 }, ({ actions, address, change, relay }) =>
      Effect.gen(function*() {
        const node = yield* RelayTest.register(address)
        const splices = yield* Effect.replicateEffect(RelayTest.splice(node), 200)
        const carry = Effect.forEach(splices, ({ node, peer }) =>
          Effect.gen(function*() {
            const [there, back] = [randomBytes(100), randomBytes(100)]
            yield* peer.send(there)
            yield* node.send(back)
            assert.isTrue((yield* node.receive(100)).equals(there))
            assert.isTrue((yield* peer.receive(100)).equals(back))
          }), { discard: true })
        yield* carry

        change({ maxRelaysPerControl: 201, connectionTimeoutMs: 400, bandwidthTotal: 100_000_000 })
        const report = yield* actions.reload
        assert.deepStrictEqual(report, {
          changed: [
            { setting: "maxRelaysPerControl", from: "200", to: "201" },
            { setting: "connectionTimeoutMs", from: "20000", to: "400" },
            { setting: "bandwidthTotal", from: "not set", to: "100000000" }
          ],
          needsRestart: []
        })
        yield* carry
        yield* RelayTest.splice(node)
        yield* Effect.flatMap(node.peer, (surplus) => surplus.closed)
        yield* Effect.flatMap(RelayTest.connect(address), (silent) => silent.closed)

        change({ maxRelaysPerControl: 1, access: { nodes: { allow: [] } } })
        yield* actions.reload
        yield* carry
        assert.strictEqual(Array.from(relay.splices()).length, 201)
        yield* Effect.flip(RelayTest.register(address))
      })))

  it.live("says what would need a restart, and leaves that as it is", () =>
    withOperatedRelay({}, ({ actions, change, relay }) =>
      Effect.gen(function*() {
        const before = relay.addresses.map(String)
        change({
          bind: ["tx3-rst://127.0.0.1:1"],
          adminToken: "a new one, of many characters",
          maxHandshakes: 7,
          otlp: "http://me:secret@127.0.0.1:1/?key=secret"
        })
        const { changed, needsRestart } = yield* actions.reload
        assert.deepStrictEqual(changed.map(({ setting }) => setting), ["maxHandshakes"])
        assert.deepStrictEqual(needsRestart.map(({ setting }) => setting), ["bind", "adminToken", "otlp"])
        assert.notInclude(JSON.stringify(needsRestart), "a new one")
        assert.notInclude(JSON.stringify(needsRestart), "secret@")
        assert.notInclude(JSON.stringify(needsRestart), "key=secret")
        assert.deepStrictEqual(relay.addresses.map(String), before)
        assert.deepStrictEqual((yield* actions.reload).needsRestart, needsRestart)
      })))

  it.live("of settings that cannot be used changes nothing, and says why", () =>
    withOperatedRelay({ maxControlStreams: 1 }, ({ actions, address, change }) =>
      Effect.gen(function*() {
        change({ maxControlStreams: 2, maxHandshakes: "many" })
        const error = yield* Effect.flip(actions.reload)
        assert.strictEqual(
          error.message,
          "nothing was changed: maxHandshakes: must be a whole number from 1 to 2147483647"
        )
        yield* RelayTest.register(address)
        yield* Effect.flip(RelayTest.register(address))
        change({ maxControlStreams: 2 })
        yield* actions.reload
        yield* RelayTest.register(address)
      })).pipe(Effect.provide(logTo([]))))
})

describe("the month's volume", () => {
  it.scopedLive("has all that splices carried, to the last byte, and is there after a restart", () =>
    Effect.gen(function*() {
      const folder = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "tx3-month-"))),
        (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
      )
      const month = { monthlyBytesFile: join(folder, "month.json"), monthlyBytesHard: 2_000 }
      const used = (operated: Operated) =>
        Effect.map(
          operated.history.status,
          ({ limits }) => limits.find(({ name }) => name === "monthlyBytesHard")?.used
        )
      yield* withOperatedRelay(month, (operated) =>
        Effect.gen(function*() {
          const node = yield* RelayTest.register(operated.address)
          const { node: inside, peer } = yield* RelayTest.splice(node)
          yield* peer.send(Buffer.alloc(1_000))
          yield* inside.receive(1_000)
          // A running splice is metered every second.
          yield* RelayTest.eventually(Effect.map(used(operated), (bytes) => bytes === 1_000))
          yield* inside.send(Buffer.alloc(500))
          yield* peer.receive(500)
          yield* Effect.all([peer.end, inside.end])
        }))
      yield* withOperatedRelay(month, (operated) =>
        Effect.gen(function*() {
          assert.strictEqual(yield* used(operated), 1_500)
          const node = yield* RelayTest.register(operated.address)
          const { node: inside, peer } = yield* RelayTest.splice(node)
          yield* peer.send(Buffer.alloc(500))
          yield* inside.receive(500)
          yield* RelayTest.eventually(Effect.map(used(operated), (bytes) => bytes === 2_000))
          yield* Effect.flatMap(node.peer, (surplus) => surplus.closed)
          assert.strictEqual((yield* operated.relay.snapshot).totals.rejections.quota, 1)
          yield* peer.send(Buffer.alloc(10))
          yield* inside.receive(10)
        }))
    }))
})

describe("fairness", () => {
  it.live("a stranger cannot take more than maxShareOfNode of a node's splices", () =>
    withOperatedRelay({ maxShareOfNode: 0.5, maxRelaysPerControl: 64 }, ({ address, relay }) =>
      Effect.gen(function*() {
        const node = yield* RelayTest.register(address)
        const from = (localAddress: string) =>
          RelayTest.sendPreamble(address, Buffer.from(node.identity.digest, "base64url"), { localAddress })
        for (let count = 0; count < 32; count++) {
          yield* from("127.0.0.66")
          yield* node.accept
        }
        for (let count = 0; count < 40; count++) {
          yield* Effect.flatMap(from("127.0.0.66"), (surplus) => surplus.closed)
        }
        assert.strictEqual((yield* relay.snapshot).totals.rejections.maxShareOfNode, 40)
        for (let count = 0; count < 32; count++) {
          yield* from("127.0.0.7")
          yield* node.accept
        }
        yield* until("all are spliced", () => Array.from(relay.splices()).length === 64)
      })))
})

for (const transport of ["portable", "kernel"]) {
  describe(`bandwidth, ${transport} transport`, () => {
    const MB = 1_000_000

    /** Bytes a second of these splices in a second from now on. */
    const flow = (splices: ReadonlyArray<{ readonly carried: () => { fromLeft: number; fromRight: number } }>) =>
      Effect.gen(function*() {
        const counts = () => splices.map((splice) => sum(splice.carried()))
        const [began, before] = [performance.now(), counts()]
        yield* Effect.sleep("1 second")
        const seconds = (performance.now() - began) / 1000
        return counts().map((count, index) => (count - before[index]!) / seconds)
      })

    const busy = (node: RelayTest.RawNode): Effect.Effect<void, RelayTest.Ended, Scope.Scope> =>
      Effect.gen(function*() {
        const { node: inside, peer } = yield* RelayTest.splice(node)
        yield* discard(inside)
        yield* pump(peer)
      })

    /** What a rate may be exceeded by in a second: its burst, and what was under way. */
    const withBurst = (rate: number) => 1.25 * rate + 0.5 * MB

    it.live("of each splice, of a node and in all, and a running splice feels a reload at once", () =>
      withOperatedRelay({ transport }, ({ actions, address, change, relay }) =>
        Effect.gen(function*() {
          const [one, other] = [yield* RelayTest.register(address), yield* RelayTest.register(address)]
          yield* busy(one)
          yield* busy(one)
          yield* busy(other)
          const all = () => Array.from(relay.splices())
          const of = (node: RelayTest.RawNode) => all().filter((splice) => splice.node === node.identity.digest)
          yield* until("all flow", () => all().every((splice) => sum(splice.carried()) > 8 * MB))

          const set = (values: Record<string, number>) =>
            Effect.gen(function*() {
              change({ transport, ...values })
              yield* actions.reload
              // What a worker took before it heard of it is under way still.
              yield* Effect.sleep("100 millis")
            })
          const total = (rates: ReadonlyArray<number>) => rates.reduce((sum, rate) => sum + rate, 0)

          yield* set({ bandwidthPerSplice: MB })
          for (const rate of yield* flow(all())) {
            assert.isBelow(rate, withBurst(MB))
            assert.isAbove(rate, 0.4 * MB)
          }
          yield* set({ bandwidthPerNode: 2 * MB })
          assert.isBelow(total(yield* flow(of(one))), withBurst(2 * MB))
          assert.isBelow(total(yield* flow(of(other))), withBurst(2 * MB))
          yield* set({ bandwidthTotal: 2 * MB })
          assert.isBelow(total(yield* flow(all())), withBurst(2 * MB))
          yield* set({ bandwidthPerIp: 3 * MB })
          assert.isBelow(total(yield* flow(all())), withBurst(3 * MB))
          yield* set({})
          assert.isAbove(total(yield* flow(all())), 8 * MB)
        })))
  })
}

describe("otlp", () => {
  it.live("sends metrics and logs to the collector", () =>
    Effect.gen(function*() {
      const received = new Map<string, string>()
      const collector = yield* Effect.acquireRelease(
        Effect.async<ReturnType<typeof createServer>>((resume) => {
          const server = createServer((request, response) => {
            let body = ""
            request.setEncoding("utf8").on("data", (chunk: string) => {
              body += chunk
            }).on("end", () => {
              received.set(request.url!, (received.get(request.url!) ?? "") + body)
              response.setHeader("content-type", "application/json").end("{}")
            })
          })
          server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
        }),
        (server) =>
          Effect.sync(() => server.closeAllConnections()).pipe(Effect.zipRight(Effect.sync(() => server.close())))
      )
      const { port } = collector.address() as AddressInfo
      yield* withOperatedRelay({ otlp: `http://127.0.0.1:${port}` }, ({ address }) => RelayTest.register(address))
      assert.include(received.get("/v1/metrics"), "tx3_relay_control_streams_total")
      assert.include(received.get("/v1/metrics"), "tx3_relay_connections")
      assert.include(received.get("/v1/logs"), "control stream registered")
    }).pipe(Effect.scoped, Effect.provide(Logger.remove(Logger.defaultLogger))))
})
