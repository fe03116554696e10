/**
 * Three members behind HAProxy, restarted one after the other while peers come all the time. Nodes and peers know HAProxy's address
 * only.
 */
import { assert, describe, it } from "@effect/vitest"
import type { SpliceToken } from "@tx3/protocol"
import { Address, CertDigest } from "@tx3/protocol"
import { RelayTest } from "@tx3/relay"
import * as programs from "@tx3/testing/builtPrograms"
import { find } from "@tx3/testing/Programs"
import { withPrograms } from "@tx3/testing/withPrograms"
import { Effect, Exit, Fiber, Option, Schedule, Scope } from "effect"
import { writeFileSync } from "node:fs"
import * as net from "node:net"
import { join } from "node:path"
import { natsServer } from "../../cluster/test/utils/natsServer.js"

const first = 20_023 + 30 * (process.pid % 400)
const members = [0, 1, 2].map((index) => ({ relay: first + 1 + index, metrics: first + 4 + index }))

/** How HAProxy chooses a member: `npm run cluster:test` has the other way, `source`. */
const balance = process.env["TX3_TEST_BALANCE"] ?? "roundrobin"

const haproxyFile = (socket: string) => `
global
  stats socket ${socket}
defaults
  mode tcp
  retries 3
  option redispatch 1
  timeout connect 2s
  timeout client 1m
  timeout server 1m
  timeout check 30s
listen relay
  bind 127.0.0.1:${first}
  balance ${balance}
  option httpchk GET /readyz
  default-server inter 2s fastinter 200ms downinter 200ms rise 1 fall 1 send-proxy-v2 check
${members.map(({ metrics, relay }) => `  server s${relay} 127.0.0.1:${relay} port ${metrics}`).join("\n")}
`

/** Whether HAProxy gives connections to every member. */
const allUp = (socket: string) =>
  Effect.async<boolean>((resume) => {
    let said = ""
    const stats = net.connect(socket, () => stats.write("show stat\n"))
    stats.setEncoding("utf8").on("data", (text: string) => said += text)
      .on("error", () => resume(Effect.succeed(false)))
      .on("end", () => resume(Effect.succeed(members.length === (said.match(/^relay,s\d+,.*,UP,/gm) ?? []).length)))
    return Effect.sync(() => stats.destroy())
  })

const startMember = (file: string, nats: string, { metrics, relay }: typeof members[number]) =>
  Effect.gen(function*() {
    const program = yield* programs.start("tx3-relay", ["--config", file], {
      env: {
        TX3_RELAY_BIND: `tx3-rst://127.0.0.1:${relay}`,
        TX3_RELAY_PROXY_PROTOCOL_FROM: "127.0.0.1",
        TX3_RELAY_METRICS: `http://127.0.0.1:${metrics}`,
        // A peer waits no longer for a node that dialed back to a member which has just stopped listening.
        TX3_RELAY_CONNECTION_TIMEOUT_MS: "10000",
        TX3_RELAY_CLUSTER_NATS: nats,
        TX3_RELAY_CLUSTER_LISTEN: "tx3-link://127.0.0.1:0"
      }
    })
    yield* program.untilStdout(/list end/)
    return program
  })

/**
 * A node that registers again half a second after it lost its relay, greets each peer, and returns what it says. The latch is open
 * while it is registered.
 */
const node = (
  relay: Address.Address,
  identity: Effect.Effect.Success<ReturnType<typeof RelayTest.register>>["identity"],
  registered: Effect.Latch
) =>
  Effect.gen(function*() {
    const { token } = yield* RelayTest.register(relay, { identity })
    yield* Effect.acquireRelease(registered.open, () => registered.close)
    const greet = (token: SpliceToken.SpliceToken) =>
      Effect.gen(function*() {
        const peer = yield* RelayTest.dialBack(relay, token)
        yield* peer.send(Buffer.from("hello"))
        yield* peer.send(yield* peer.receive(4))
        yield* peer.receiveAll
      }).pipe(Effect.scoped, Effect.ignore)
    return yield* Effect.forever(Effect.flatMap(token, (token) => Effect.forkDaemon(greet(token))))
  }).pipe(Effect.scoped, Effect.ignore, Effect.repeat(Schedule.spaced("500 millis")))

let came = 0

/** A peer that is greeted, each from another address. The time is a bound for what hangs. */
const visit = (relay: Address.Address, digest: CertDigest.CertDigest) =>
  Effect.gen(function*() {
    const localAddress = `127.0.0.${2 + came++ % 200}`
    const peer = yield* RelayTest.sendPreamble(relay, CertDigest.toBytes(digest), { localAddress })
    yield* peer.receive(5)
    return peer
  }).pipe(Effect.timeout("30 seconds"))

withPrograms(["haproxy", "nats-server"], () => {
  describe("a rolling restart", () => {
    it.scopedLive("fails no peer that tries again after a second, and drops no splice that ends in time", () =>
      Effect.gen(function*() {
        const { url } = yield* natsServer()
        const file = yield* programs.copyOfUpstreamFile
        const folder = yield* programs.temporaryFolder
        const [config, socket] = [join(folder, "haproxy.cfg"), join(folder, "haproxy.sock")]
        writeFileSync(config, haproxyFile(socket))
        const start = (member: typeof members[number]) => startMember(file, url, member)
        const running = yield* Effect.forEach(members, start, { concurrency: 3 })
        yield* programs.startCommand(find("haproxy")!, ["-f", config], {})
        const relay = new Address.Address({
          scheme: "tx3-rst",
          host: "127.0.0.1",
          port: first,
          digest: Option.some(programs.upstreamDigest as CertDigest.CertDigest)
        })
        yield* RelayTest.eventually(Effect.isSuccess(Effect.scoped(RelayTest.register(relay))))
        const { identity } = yield* Effect.scoped(RelayTest.register(relay))
        const registered = yield* Effect.makeLatch()
        yield* Effect.forkScoped(node(relay, identity, registered))
        yield* RelayTest.eventually(Effect.isSuccess(Effect.scoped(visit(relay, identity.digest))))

        const outcomes = { atOnce: 0, again: 0, failed: 0 }
        let tryingAgain = 0
        // On a busy machine the node takes longer than a second to come back.
        const again = Effect.delay(Effect.zipRight(registered.await, visit(relay, identity.digest)), "1 second")
        const visits = Effect.matchEffect(Effect.scoped(visit(relay, identity.digest)), {
          onFailure: () =>
            Effect.zipRight(
              Effect.sync(() => tryingAgain++),
              Effect.match(Effect.scoped(again), {
                onFailure: () => outcomes.failed++,
                onSuccess: () => outcomes.again++
              })
            ).pipe(Effect.ensuring(Effect.sync(() => tryingAgain--))),
          onSuccess: () => Effect.sync(() => outcomes.atOnce++)
        })
        const coming = yield* Effect.forkScoped(
          Effect.all(Array.from({ length: 4 }, () => Effect.repeat(visits, Schedule.spaced("200 millis"))), {
            concurrency: "unbounded"
          })
        )
        for (const [index, member] of members.entries()) {
          const scope = yield* Scope.make()
          const long = yield* Effect.replicateEffect(
            Effect.orElse(visit(relay, identity.digest), () => again),
            6
          ).pipe(Scope.extend(scope))
          // A member stops when HAProxy knows that the one before is back, and the peers which that one failed were here again.
          yield* Effect.map(allUp(socket), (are) => are && tryingAgain === 0).pipe(
            Effect.repeat({ until: (holds) => holds, schedule: Schedule.spaced("100 millis") })
          )
          running[index]!.kill("SIGTERM")
          yield* running[index]!.untilStderr(/shutting down/)
          for (const peer of long) {
            yield* peer.send(Buffer.from("more"))
            assert.strictEqual((yield* peer.receive(4)).toString(), "more")
            yield* peer.reset
          }
          yield* Scope.close(scope, Exit.void)
          assert.strictEqual((yield* running[index]!.ended).code, 0)
          yield* start(member)
        }
        const before = outcomes.atOnce
        yield* RelayTest.eventually(Effect.sync(() => outcomes.atOnce > before + 20))
        yield* Fiber.interrupt(coming)
        assert.strictEqual(outcomes.failed, 0)
      }))
  })
})
