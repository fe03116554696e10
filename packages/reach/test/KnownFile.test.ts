import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Address } from "@tx3/protocol"
import { DefaultRelay, KnownFile } from "@tx3/reach"
import * as programs from "@tx3/testing/builtPrograms"
import { ConfigProvider, Effect } from "effect"
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"

const digest = "1QcFGPwYeiJyjqVeuDYTZoCRjvFBD_e9gbWLhDBkdrI"
const other = "A-QcFGPwYeiJyjqVeuDYTZoCRjvFBD_e9gbWLhDBkdo"
const at = (host: string, of = digest) => Effect.runSync(Address.parseWithDigest(`tx3-rst://${host}:1/${of}`))

const inFolder = <A, E>(
  use: (path: string) => Effect.Effect<A, E, NodeContext.NodeContext>
) =>
  Effect.flatMap(programs.temporaryFolder, (folder) => use(join(folder, "tx3", "known"))).pipe(
    Effect.provide(NodeContext.layer)
  )

describe("the file of names", () => {
  it.scoped("keeps names of addresses, and everything else that is in it", () =>
    inFolder((path) =>
      Effect.gen(function*() {
        const known = KnownFile.read(path)
        const addressesOf = (name: string) => Effect.flatMap(known, (known) => KnownFile.addressesOf(known, name))
        yield* KnownFile.set(yield* known, "home", [at("a")])
        assert.strictEqual(statSync(path).mode & 0o777, 0o600)
        yield* KnownFile.add(yield* known, at("x", other).digest.value, "laptop")
        writeFileSync(path, `# mine\n${readFileSync(path, "utf8")}`.replace("laptop", "laptop  # of work"))
        yield* KnownFile.set(yield* known, "home", [at("b"), at("c")])
        yield* KnownFile.set(yield* known, "laptop", [at("d", other)])
        assert.deepStrictEqual(yield* addressesOf("home"), [at("b"), at("c")].map(String))
        yield* KnownFile.rename(yield* known, "home", "house")
        assert.strictEqual(
          readFileSync(path, "utf8"),
          `# mine\n${digest} house ${at("b")} ${at("c")}\n${other} laptop ${at("d", other)}  # of work\n`
        )
        yield* KnownFile.remove(yield* known, "house")
        assert.strictEqual(
          readFileSync(path, "utf8"),
          `# mine\n${other} laptop ${at("d", other)}  # of work\n`
        )
        assert.deepStrictEqual(readdirSync(join(path, "..")), ["known"])
        const { message } = yield* Effect.flip(addressesOf("house"))
        assert.include(message, "\"house\" is no address and no name in ")
      })
    ))

  it.scoped("refuses a name of two nodes, and an address of another digest", () =>
    inFolder((path) =>
      Effect.gen(function*() {
        const known = KnownFile.read(path)
        yield* KnownFile.set(yield* known, "home", [at("a")])
        const taken = yield* Effect.flip(KnownFile.set(yield* known, "home", [at("a", other)]))
        assert.include(taken.message, `home is ${digest}, and not ${other}`)
        const missing = yield* Effect.flip(KnownFile.rename(yield* known, "house", "home"))
        assert.include(missing.message, "there is no name \"house\"")
        writeFileSync(path, `${digest} home ${at("a", other)}\n`)
        const { message } = yield* Effect.flip(known)
        assert.include(message, `line 1: ${at("a", other)} is no address that ends in ${digest}`)
      })
    ))
})

describe("the default relay", () => {
  const withEnvironment = (variables: Record<string, string>) =>
    Effect.withConfigProvider(ConfigProvider.fromMap(new Map(Object.entries(variables))))

  it.scoped("is that of TX3_RELAY, else that of the file", () =>
    inFolder((path) =>
      Effect.gen(function*() {
        const folder = join(path, "../..")
        const file = join(folder, "tx3", "relay")
        const read = (variables: Record<string, string>) =>
          withEnvironment({ XDG_CONFIG_HOME: folder, ...variables })(DefaultRelay.read)
        assert.deepStrictEqual(yield* read({}), [])
        yield* DefaultRelay.use(file, [`${at("a")}`, `${at("b", other)}`])
        assert.deepStrictEqual(yield* read({}), [`${at("a")}`, `${at("b", other)}`])
        assert.deepStrictEqual(yield* read({ TX3_RELAY: `${at("c")}, ${at("d")}` }), [`${at("c")}`, `${at("d")}`])
        const { message } = yield* Effect.flip(read({ TX3_RELAY: `tx3-st://a:1/${digest}` }))
        assert.include(message, "TX3_RELAY: ")
        assert.include(message, "is no relay's address")
        yield* DefaultRelay.use(file, [])
        assert.deepStrictEqual(yield* read({}), [])
        assert.deepStrictEqual(yield* withEnvironment({})(DefaultRelay.read), [])
      })
    ))
})
