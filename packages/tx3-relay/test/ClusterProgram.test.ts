/** Members that are started as an operator starts them, on Debian's nats-server, with nodes and peers of the program tx3. */
import { assert, describe, it } from "@effect/vitest"
import { Address, CertDigest } from "@tx3/protocol"
import { RelayTest } from "@tx3/relay"
import * as programs from "@tx3/testing/builtPrograms"
import { withPrograms } from "@tx3/testing/withPrograms"
import { Effect, Either } from "effect"
import { get } from "node:http"
import { natsServer } from "../../cluster/test/utils/natsServer.js"
import { failureOf } from "./utils/failureOf.js"

const link = { TX3_RELAY_CLUSTER_LISTEN: "tx3-link://127.0.0.1:0" }

const member = (nats: string, admin = "off") =>
  programs.startRelay({ ...link, TX3_RELAY_CLUSTER_NATS: nats, TX3_RELAY_ADMIN: admin })

describe("tx3-relay with a cluster", () => {
  it.scopedLive("starts without its engine, says so without the password, and stops", () =>
    Effect.gen(function*() {
      const { program } = yield* member("nats://relay:secret@127.0.0.1:9", "http://127.0.0.1:0")
      yield* program.untilStderr(/NATS is away, so only local nodes and peers are served until it is back/)
      const [, admin] = yield* program.untilStderr(/admin server listening.*(http:\/\/127\.0\.0\.1:\d+)/)
      const ready = yield* Effect.promise(() =>
        new Promise((resolve) =>
          get(`${admin}/readyz`, { agent: false }, (response) => resolve(response.resume().statusCode))
        )
      )
      assert.strictEqual(ready, 200)
      program.kill("SIGTERM")
      const { code, stderr, stdout } = yield* program.ended
      assert.strictEqual(code, 0, stderr)
      assert.notInclude(stderr + stdout.toString(), "secret")
    }))

  it.scopedLive("does not start with settings or files that cannot be used", () =>
    Effect.gen(function*() {
      const file = yield* programs.copyOfUpstreamFile
      const refused = (env: Record<string, string>, message: string) =>
        Effect.gen(function*() {
          const { code, stderr, stdout } = yield* programs.run("tx3-relay", ["--config", file], {
            env: { ...link, TX3_RELAY_CLUSTER_NATS: "nats://127.0.0.1:9", ...env }
          })
          assert.strictEqual(code, 2, stderr)
          assert.include(stderr, message)
          assert.strictEqual(stdout.toString(), "")
        })
      yield* refused({ TX3_RELAY_CLUSTER_LISTEN: "10.0.0.1" }, "TX3_RELAY_CLUSTER_LISTEN: must be tx3-link://HOST:PORT")
      yield* refused({ TX3_RELAY_CLUSTER_CREDENTIALS: "/none" }, "cluster.credentials: /none cannot be read")
    }))

  withPrograms(["nats-server"], () => {
    it.scopedLive("check tries NATS and the address of links", () =>
      Effect.gen(function*() {
        const { url } = yield* natsServer()
        const file = yield* programs.copyOfUpstreamFile
        const check = (nats: string) =>
          Effect.map(
            programs.run("tx3-relay", ["check", "--config", file, "--bind", "tx3-rst://127.0.0.1:0"], {
              env: { ...link, TX3_RELAY_CLUSTER_NATS: nats }
            }),
            ({ stdout }) => stdout.toString()
          )
        const [good, bad] = yield* Effect.all([check(url), check("nats://u:secret@127.0.0.1:9")], { concurrency: 2 })
        assert.include(good, `\ncluster: connected to ${url}\nlinks: tx3-link://127.0.0.1:0\n`)
        assert.include(bad, "\ncluster: no connection to nats://…@127.0.0.1:9\n")
      }))

    it.scopedLive("status shows the members and what is forwarded, and a ban everywhere ends that", () =>
      Effect.gen(function*() {
        const { url } = yield* natsServer()
        const admin = `unix:${yield* programs.temporaryFolder}/admin.sock`
        const [first, second] = yield* Effect.all([member(url), member(url, admin)], { concurrency: 2 })
        const [home, door] = [first, second].map(({ address }) => Either.getOrThrow(Address.parse(address)))
        const node = yield* RelayTest.register(home!)
        const peer = yield* RelayTest.sendPreamble(door!, CertDigest.toBytes(node.identity.digest))
        const inside = yield* node.accept
        yield* inside.send(Buffer.from("hello"))
        assert.strictEqual((yield* peer.receive(5)).toString(), "hello")
        const operate = (...args: ReadonlyArray<string>) =>
          Effect.map(
            programs.run("tx3-relay", [...args, "--admin", admin]),
            ({ stderr, stdout }) => `${stdout}${stderr}`
          )
        const status = yield* operate("status")
        assert.match(status, /member [\w-]{11} of a cluster of 2, links at 127\.0\.0\.1:\d+\n/)
        assert.include(status, "1 connections forwarded now, 1 in all; 0 received")
        assert.match(status, /1 look-ups, [\d.]+ ms on average: 1 found, 0 unknown/)
        assert.match(
          status,
          /other member +links at +state +version +round trip\n[\w-]{11} +127\.0\.0\.1:\d+ +listening +\S+ +[\d.]+ ms\n/
        )
        const line = (outcome: string, ended: string) => `[\\w-]{11} +127\\.0\\.0\\.1:\\d+ +${outcome} +${ended}\n`
        const banned = yield* operate("ban", "--everywhere", "127.0.0.1")
        assert.match(
          banned,
          new RegExp(`^member +links at +outcome +ended\n${line("done", "1")}${line("done", "[12]")}$`)
        )
        assert.strictEqual(yield* peer.closed, "reset")
        yield* Effect.all([inside.closed, node.control.closed])
        // The other member keeps it out as well.
        yield* Effect.flip(RelayTest.register(home!))
        // The other member forgets one that is silent for five seconds, and a busy machine takes longer to start a program.
        first.program.kill("SIGSTOP")
        const { error, printed } = yield* failureOf(["unban", "--everywhere", "127.0.0.1", "--admin", admin])
        assert.match(printed, new RegExp(`${line("done", "0")}${line("no answer", "0")}$`))
        assert.match(error.message, /^member [\w-]{11} at 127\.0\.0\.1:\d+: no answer/)
        first.program.kill("SIGCONT")
      }))
  })
})
