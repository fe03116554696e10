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
import { join } from "node:path"
import { natsServer } from "../../cluster/test/utils/natsServer.js"

const first = 20_023 + 30 * (process.pid % 400)
const members = [0, 1, 2].map((index) => ({ relay: first + 1 + index, metrics: first + 4 + index }))

const haproxyFile = `
defaults
  mode tcp
  retries 3
  option redispatch 1
  timeout connect 2s
  timeout client 1m
  timeout server 1m
listen relay
  bind 127.0.0.1:${first}
  balance roundrobin
  option httpchk GET /readyz
  default-server inter 200ms rise 1 fall 1 send-proxy-v2 check
${members.map(({ metrics, relay }) => `  server s${relay} 127.0.0.1:${relay} port ${metrics}`).join("\n")}
`

const startMember = (file: string, nats: string, { metrics, relay }: typeof members[number]) =>
  Effect.gen(function*() {
    const program = yield* programs.start("tx3-relay", ["--config", file], {
      env: {
        TX3_RELAY_BIND: `tx3-rst://127.0.0.1:${relay}`,
        TX3_RELAY_PROXY_PROTOCOL_FROM: "127.0.0.1",
        TX3_RELAY_METRICS: `http://127.0.0.1:${metrics}`,
        TX3_RELAY_CLUSTER_NATS: nats,
        TX3_RELAY_CLUSTER_LISTEN: "tx3-link://127.0.0.1:0"
      }
    })
    yield* program.untilStdout(/list end/)
    return program
  })

/** A node that registers again half a second after it lost its relay, greets each peer, and returns what it says. */
const node = (
  relay: Address.Address,
  identity: Effect.Effect.Success<ReturnType<typeof RelayTest.register>>["identity"]
) =>
  Effect.gen(function*() {
    const { token } = yield* RelayTest.register(relay, { identity })
    const greet = (token: SpliceToken.SpliceToken) =>
      Effect.gen(function*() {
        const peer = yield* RelayTest.dialBack(relay, token)
        yield* peer.send(Buffer.from("hello"))
        yield* peer.send(yield* peer.receive(4))
        yield* peer.receiveAll
      }).pipe(Effect.scoped, Effect.ignore)
    return yield* Effect.forever(Effect.flatMap(token, (token) => Effect.forkDaemon(greet(token))))
  }).pipe(Effect.scoped, Effect.ignore, Effect.repeat(Schedule.spaced("500 millis")))

/** A peer that is greeted within five seconds. */
const visit = (relay: Address.Address, digest: CertDigest.CertDigest) =>
  Effect.gen(function*() {
    const peer = yield* RelayTest.sendPreamble(relay, CertDigest.toBytes(digest))
    yield* peer.receive(5)
    return peer
  }).pipe(Effect.timeout("5 seconds"))

withPrograms(["haproxy", "nats-server"], () => {
  describe("a rolling restart", () => {
    it.scopedLive("fails no peer that tries again after a second, and drops no splice that ends in time", () =>
      Effect.gen(function*() {
        const { url } = yield* natsServer()
        const file = yield* programs.copyOfUpstreamFile
        const config = join(yield* programs.temporaryFolder, "haproxy.cfg")
        writeFileSync(config, haproxyFile)
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
        yield* Effect.forkScoped(node(relay, identity))
        yield* RelayTest.eventually(Effect.isSuccess(Effect.scoped(visit(relay, identity.digest))))

        const outcomes = { atOnce: 0, again: 0, failed: 0 }
        const peer = Effect.scoped(visit(relay, identity.digest))
        const visits = Effect.matchEffect(peer, {
          onFailure: () =>
            Effect.matchEffect(Effect.delay(peer, "1 second"), {
              onFailure: () => Effect.sync(() => outcomes.failed++),
              onSuccess: () => Effect.sync(() => outcomes.again++)
            }),
          onSuccess: () => Effect.sync(() => outcomes.atOnce++)
        })
        const coming = yield* Effect.forkScoped(
          Effect.forever(Effect.zipRight(Effect.forkScoped(visits), Effect.sleep("50 millis")))
        )
        for (const [index, member] of members.entries()) {
          const scope = yield* Scope.make()
          const long = yield* Effect.replicateEffect(
            Effect.retry(visit(relay, identity.digest), Schedule.addDelay(Schedule.recurs(1), () => "1 second")),
            6
          ).pipe(Scope.extend(scope))
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
