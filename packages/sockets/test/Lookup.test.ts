import { assert, describe, it } from "@effect/vitest"
import * as Lookup from "@tx3/sockets/Lookup"
import { Deferred, Effect, Exit, Fiber, TestClock } from "effect"
import * as dgram from "node:dgram"
import type { LookupAddress } from "node:dns"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import * as directLookup from "../src/internal/directLookup.js"

const one: ReadonlyArray<LookupAddress> = [{ address: "192.0.2.1", family: 4 }]
const two: ReadonlyArray<LookupAddress> = [{ address: "192.0.2.2", family: 4 }]

/** A system whose calls the test answers. */
const fakeSystem = () => {
  const calls = new Map<string, { readonly answer: (addresses: ReadonlyArray<LookupAddress>) => Promise<void> }>()
  const asked: Array<string> = []
  const system = (host: string) =>
    new Promise<ReadonlyArray<LookupAddress>>((resolve) => {
      assert.isFalse(calls.has(host), `two calls of the system at once for ${host}`)
      asked.push(host)
      calls.set(host, {
        answer: async (addresses) => {
          calls.delete(host)
          resolve(addresses)
          await new Promise((resolve) => setImmediate(resolve))
        }
      })
    })
  return { asked, calls, system }
}

const silence = Effect.never
const unknown = Effect.fail({ isAnswer: true })

const make = (options: Partial<Lookup.Options> & Pick<Lookup.Options, "system">) =>
  Lookup.make({ direct: () => silence, threads: 2, stallMs: 1_000, deadlineMs: 10_000, ...options })

const settled = Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve)))

/** A fiber that has run as far as it can without an answer. */
const asking = <A, E>(effect: Effect.Effect<A, E>) => Effect.tap(Effect.fork(effect), () => settled)

describe("a lookup", () => {
  it.effect("of a numeric address asks nothing", () =>
    Effect.gen(function*() {
      const { asked, system } = fakeSystem()
      assert.deepEqual(yield* make({ system })("::1"), [{ address: "::1", family: 6 }])
      assert.deepEqual(asked, [])
    }))

  it.effect("is one for all who ask for the name while it runs, with one deadline from its start", () =>
    Effect.gen(function*() {
      const { asked, system } = fakeSystem()
      const resolve = make({ system })
      const first = yield* asking(resolve("dead.test"))
      yield* TestClock.adjust(9_000)
      const second = yield* asking(resolve("dead.test"))
      yield* TestClock.adjust(1_000)
      for (const fiber of [first, second]) {
        const error = yield* Effect.flip(Fiber.join(fiber))
        assert.strictEqual(error.cause.message, "no answer for the name within 10000 ms")
      }
      assert.deepEqual(asked, ["dead.test"])
    }))

  it.effect("joins the system's call that an earlier one has left behind", () =>
    Effect.gen(function*() {
      const { asked, calls, system } = fakeSystem()
      const resolve = make({ system })
      yield* asking(resolve("slow.test"))
      yield* TestClock.adjust(10_000)
      const again = yield* asking(resolve("slow.test"))
      yield* Effect.promise(() => calls.get("slow.test")!.answer(one))
      assert.deepEqual(yield* Fiber.join(again), one)
      assert.deepEqual(asked, ["slow.test"])
    }))

  it.effect("goes on for the others when one of its callers is interrupted, and ends with the last", () =>
    Effect.gen(function*() {
      const { system } = fakeSystem()
      let asking1 = 0
      const direct = () =>
        Effect.acquireUseRelease(Effect.sync(() => asking1++), () => Effect.never, () => Effect.sync(() => asking1--))
      const resolve = make({ system, direct, threads: 1 })
      yield* asking(resolve("holds.test"))
      const first = yield* asking(resolve("dead.test"))
      const second = yield* asking(resolve("dead.test"))
      assert.strictEqual(asking1, 1)
      yield* Fiber.interrupt(first)
      yield* settled
      assert.strictEqual(asking1, 1)
      yield* Fiber.interrupt(second)
      yield* settled
      assert.strictEqual(asking1, 0)
    }))

  it.effect("fails with what the system says", () =>
    Effect.gen(function*() {
      const resolve = make({ system: () => Promise.reject(new Error("ENOTFOUND")) })
      assert.strictEqual((yield* Effect.flip(resolve("none.test"))).cause.message, "ENOTFOUND")
    }))
})

describe("a name that no server answers for", () => {
  it.effect("leaves a thread to names that the system has answered for", () =>
    Effect.gen(function*() {
      const { asked, calls, system } = fakeSystem()
      const resolve = make({ system })
      const good = yield* asking(resolve("good.test"))
      yield* Effect.promise(() => calls.get("good.test")!.answer(one))
      yield* Fiber.join(good)
      for (const dead of ["dead1.test", "dead2.test", "dead3.test"]) {
        yield* asking(resolve(dead))
      }
      const again = yield* asking(resolve("good.test"))
      yield* Effect.promise(() => calls.get("good.test")!.answer(two))
      assert.deepEqual(yield* Fiber.join(again), two)
      assert.deepEqual(asked, ["good.test", "dead1.test", "good.test"])
    }))

  it.effect("leaves a thread to names that only another source than DNS knows", () =>
    Effect.gen(function*() {
      const { calls, system } = fakeSystem()
      const resolve = make({ system, direct: (host) => host === "nas.local" ? unknown : silence })
      yield* asking(resolve("dead.test"))
      const local = yield* asking(resolve("nas.local"))
      yield* Effect.promise(() => calls.get("nas.local")!.answer(one))
      assert.deepEqual(yield* Fiber.join(local), one)
    }))

  it.effect("does not get that thread again when it has stalled", () =>
    Effect.gen(function*() {
      const { asked, calls, system } = fakeSystem()
      const resolve = make({ system, direct: () => unknown })
      yield* asking(resolve("dead.test"))
      yield* asking(resolve("gone.local"))
      yield* TestClock.adjust(10_000)
      yield* Effect.promise(() => calls.get("gone.local")!.answer([]))
      yield* asking(resolve("gone.local"))
      const local = yield* asking(resolve("nas.local"))
      assert.deepEqual(asked, ["dead.test", "gone.local", "nas.local"])
      yield* Effect.promise(() => calls.get("nas.local")!.answer(one))
      assert.deepEqual(yield* Fiber.join(local), one)
    }))

  it.effect("does not keep others from being asked for directly", () =>
    Effect.gen(function*() {
      const { system } = fakeSystem()
      const resolve = make({ system, direct: (host) => host === "good.test" ? Effect.succeed(one) : silence })
      yield* asking(resolve("dead1.test"))
      yield* asking(resolve("dead2.test"))
      assert.deepEqual(yield* resolve("good.test"), one)
    }))

  it.effect("is asked for directly when the system's call has stalled", () =>
    Effect.gen(function*() {
      const { system } = fakeSystem()
      const asked = yield* Deferred.make<void>()
      const resolve = make({ system, direct: () => Effect.as(Deferred.succeed(asked, undefined), one) })
      const fiber = yield* asking(resolve("slow.test"))
      yield* TestClock.adjust(999)
      assert.isFalse(yield* Deferred.isDone(asked))
      yield* TestClock.adjust(1)
      assert.deepEqual(yield* Fiber.join(fiber), one)
    }))
})

/** A name server on loopback: it answers A queries from its table, and nothing for other names. */
const nameServer = (names: Record<string, string | null>) =>
  Effect.acquireRelease(
    Effect.async<{ readonly at: string; readonly asked: Set<string>; readonly socket: dgram.Socket }>((resume) => {
      const asked = new Set<string>()
      const socket = dgram.createSocket("udp4")
      socket.on("message", (query, { address, port }) => {
        const labels: Array<string> = []
        let at = 12
        for (let length = query[at]!; length > 0; length = query[at]!) {
          labels.push(query.toString("latin1", at + 1, at + 1 + length))
          at += 1 + length
        }
        const name = labels.join(".").toLowerCase()
        const question = query.subarray(12, at + 5)
        const isA = query.readUInt16BE(at + 1) === 1
        asked.add(name)
        const answer = names[name]
        if (answer === undefined) {
          return
        }
        const header = Buffer.from(query.subarray(0, 12))
        header.writeUInt16BE(answer === null ? 0x8183 : 0x8180, 2)
        header.writeUInt16BE(answer !== null && isA ? 1 : 0, 6)
        header.writeUInt16BE(0, 8)
        header.writeUInt16BE(0, 10)
        const record = answer !== null && isA
          ? Buffer.concat([
            Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]),
            Buffer.from(answer.split(".").map(Number))
          ])
          : Buffer.alloc(0)
        socket.send(Buffer.concat([header, question, record]), port, address)
      })
      socket.bind(0, "127.0.0.1", () =>
        resume(Effect.succeed({ at: `127.0.0.1:${socket.address().port}`, asked, socket })))
    }),
    ({ socket }) =>
      Effect.sync(() =>
        socket.close()
      )
  )

const files = (contents: { readonly hosts?: string; readonly nsswitch?: string; readonly resolvConf?: string }) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const folder = fs.mkdtempSync(path.join(os.tmpdir(), "tx3-lookup-"))
      const at = {
        hosts: path.join(folder, "hosts"),
        nsswitch: path.join(folder, "nss"),
        resolvConf: path.join(folder, "r")
      }
      for (const [name, text] of Object.entries(contents)) {
        fs.writeFileSync(at[name as keyof typeof at], text)
      }
      return { ...at, folder }
    }),
    ({ folder }) => Effect.sync(() => fs.rmSync(folder, { recursive: true }))
  )

describe("asked without the system", () => {
  it.scopedLive("a name is found in the hosts file, and no server is asked", () =>
    Effect.gen(function*() {
      const server = yield* nameServer({})
      const found = yield* directLookup.make(
        yield* files({
          hosts: "127.0.0.1 localhost\n192.0.2.7 nas.test NAS # 192.0.2.8 nas.test\n2001:db8::7\tnas.test\n"
        }),
        [server.at]
      )("Nas.test.")
      assert.deepEqual(found, [{ address: "192.0.2.7", family: 4 }, { address: "2001:db8::7", family: 6 }])
      assert.deepEqual(Array.from(server.asked), [])
    }))

  it.scopedLive("a name is found at a server", () =>
    Effect.gen(function*() {
      const server = yield* nameServer({ "good.test": "192.0.2.1" })
      const found = yield* directLookup.make(yield* files({}), [server.at])("good.test")
      assert.deepEqual(found, one)
    }))

  it.scopedLive("a name that the servers do not know is told from one that they do not answer for", () =>
    Effect.gen(function*() {
      const server = yield* nameServer({ "none.test": null })
      const resolve = directLookup.make(yield* files({}), [server.at])
      assert.isTrue((yield* Effect.flip(resolve("none.test"))).isAnswer)
      const silent = yield* Effect.fork(resolve("dead.test"))
      while (!server.asked.has("dead.test")) {
        yield* settled
      }
      assert.isTrue(Exit.isInterrupted(yield* Fiber.interrupt(silent)))
    }))

  it.scopedLive("names are searched for as resolv.conf says", () =>
    Effect.gen(function*() {
      const server = yield* nameServer({
        "relay.ns.svc.test": "192.0.2.1",
        "relay.other.test": null,
        "a.relay": "192.0.2.2"
      })
      const resolve = directLookup.make(
        yield* files({ resolvConf: "search wrong.test\nsearch other.test ns.svc.test\noptions edns0 ndots:1\n" }),
        [server.at]
      )
      assert.deepEqual(yield* resolve("relay"), one)
      assert.deepEqual(yield* resolve("a.relay"), two)
      assert.notInclude(Array.from(server.asked), "relay.wrong.test")
    }))

  it.scopedLive("no server is asked where nsswitch has none, nor for a name under .local", () =>
    Effect.gen(function*() {
      const server = yield* nameServer({ "good.test": "192.0.2.1", "nas.local": "192.0.2.1" })
      const filesOnly = directLookup.make(yield* files({ nsswitch: "passwd: files dns\nhosts: files # dns\n" }), [
        server.at
      ])
      assert.isTrue((yield* Effect.flip(filesOnly("good.test"))).isAnswer)
      const usual = directLookup.make(
        yield* files({ nsswitch: "hosts: files mdns4_minimal [NOTFOUND=return] dns\n" }),
        [server.at]
      )
      assert.isTrue((yield* Effect.flip(usual("nas.local"))).isAnswer)
      assert.deepEqual(Array.from(server.asked), [])
    }))

  it.scopedLive("other names are found while dead ones hold all threads of the system", () =>
    Effect.gen(function*() {
      const server = yield* nameServer({ "good.test": "192.0.2.1" })
      const { calls, system } = fakeSystem()
      const resolve = make({ system, direct: directLookup.make(yield* files({}), [server.at]) })
      const dead = yield* Effect.forEach(
        ["dead1.test", "dead2.test", "dead3.test"],
        (name) => Effect.fork(resolve(name))
      )
      while (server.asked.size < 2) {
        yield* settled
      }
      assert.deepEqual(yield* resolve("good.test"), one)
      assert.deepEqual(Array.from(calls.keys()), ["dead1.test"])
      yield* Fiber.interruptAll(dead)
    }))
})
