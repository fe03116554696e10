import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { IdentityFile } from "@tx3/files"
import { Up, UpFile, UpStatus } from "@tx3/reach"
import * as programs from "@tx3/testing/builtPrograms"
import { Effect, Logger } from "effect"
import { writeFileSync } from "node:fs"
import * as net from "node:net"
import { join } from "node:path"
import { withRelay } from "../../node/test/utils/relays.js"
import { settableClock } from "../../relay/test/utils/settableClock.js"

const reporter: Up.Reporter = { tell: () => Effect.void, onNode: () => Effect.void, onEvent: () => Effect.void }

/** A service that keeps its connections open. */
const service = Effect.acquireRelease(
  Effect.async<net.Server>((resume) => {
    const server = net.createServer((socket) => void socket.on("error", () => {}).resume())
    server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
  }),
  (server) => Effect.sync(() => server.close())
)

describe("Up", () => {
  it.scopedLive("the status tells ages by a clock that is not set", () =>
    withRelay((relay) =>
      Effect.gen(function*() {
        const { clock, setAhead } = yield* settableClock
        const folder = yield* programs.temporaryFolder
        const file = join(folder, "tx3.yml")
        const identity = yield* IdentityFile.create(join(folder, "id.pem"))
        const { port } = (yield* service).address() as net.AddressInfo
        writeFileSync(
          file,
          `{ relays: ['${relay}'], expose: { a: { service: '127.0.0.1:${port}', identity: id.pem } }, ` +
            `forward: { b: { to: ['${relay.withDigest(identity.digest)}'], listen: '127.0.0.1:0' } } }`
        )
        const up = yield* UpFile.read(file)
        const ages = Effect.map(UpStatus.ask(up.status), ({ services, since }) => {
          const now = clock.unsafeCurrentTimeMillis()
          return [
            since,
            ...services.flatMap(({ connections, registrations }) => [
              ...connections.map(({ since }) => since),
              ...registrations.flatMap(({ state }) => state.is === "live" ? [state.since] : [])
            ])
          ].map((since) => now - since)
        })
        const places = yield* Effect.withClock(
          Up.start(up, { version: "0.0.0", reporterOf: () => reporter }),
          clock
        )
        const listening = places.find(({ name }) => name === "b")!.at
        yield* Effect.acquireRelease(
          Effect.sync(() => net.connect(Number(listening.split(":").at(-1)), "127.0.0.1").on("error", () => {})),
          (client) => Effect.sync(() => client.destroy())
        )
        // The program, the registration, and the connection at both of its ends.
        yield* Effect.iterate(0, { while: (found) => found < 4, body: () => Effect.map(ages, ({ length }) => length) })
        for (const ahead of [-3_600_000, 3_600_000]) {
          setAhead(ahead)
          const found = yield* ages
          assert.strictEqual(found.length, 4)
          assert.isTrue(found.every((age) => age >= 0 && age < 3_000_000), `${found}`)
        }
      }).pipe(Effect.provide(NodeContext.layer))
    ).pipe(Effect.provide(Logger.remove(Logger.defaultLogger))))
})
