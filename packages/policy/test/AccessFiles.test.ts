import { FileSystem } from "@effect/platform"
import { NodeFileSystem } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { AccessFiles, OperatorConfig } from "@tx3/policy"
import { Effect, Schema } from "effect"
import { digestOf } from "./utils/operated.js"

const decode = Schema.decodeUnknownSync(OperatorConfig.Access)

/** Runs the body with a way to put a text into a file of this name, which gives its path. */
const withFolder = <A, E>(
  body: (
    put: (name: string, text: string) => Effect.Effect<string, unknown>
  ) => Effect.Effect<A, E, FileSystem.FileSystem>
) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const folder = yield* fs.makeTempDirectoryScoped()
    return yield* body((name, text) => Effect.as(fs.writeFileString(`${folder}/${name}`, text), `${folder}/${name}`))
  }).pipe(Effect.scoped, Effect.provide(NodeFileSystem.layer))

describe("AccessFiles", () => {
  it.effect("adds the entries of files to those of the settings, wherever there may be files", () =>
    withFolder((put) =>
      Effect.gen(function*() {
        const nodes = yield* put("nodes", `${digestOf(1)}\n${digestOf(2)}\n`)
        const ranges = yield* put("ranges", "192.0.2.0/24\n2001:db8::/32\n198.51.100.7")
        const lists = { allow: ["10.0.0.0/8"], deny: ["10.1.0.0/16"], allowFile: ranges, denyFile: ranges }
        const callout = { url: "http://127.0.0.1:1/", timeoutMs: 1, cacheMs: 1 }
        const resolved = yield* AccessFiles.resolve(decode({
          nodes: { deny: [digestOf(3)], allowFile: nodes, denyFile: nodes },
          controlStreams: lists,
          peers: lists,
          peersOf: { [digestOf(4)]: lists, [digestOf(5)]: { denyFile: ranges } },
          callout
        }))
        const inFile = ["192.0.2.0/24", "2001:db8::/32", "198.51.100.7"]
        const both = { allow: ["10.0.0.0/8", ...inFile], deny: ["10.1.0.0/16", ...inFile] }
        assert.deepEqual(resolved, {
          nodes: { allow: [digestOf(1), digestOf(2)], deny: [digestOf(3), digestOf(1), digestOf(2)] },
          controlStreams: both,
          peers: both,
          peersOf: { [digestOf(4)]: both, [digestOf(5)]: { deny: inFile } },
          callout
        })
      })
    ))

  it.effect("leaves access without files as it is", () =>
    withFolder(() =>
      Effect.gen(function*() {
        assert.deepEqual(yield* AccessFiles.resolve({}), {})
        const access = decode({ nodes: { allow: [] }, peers: { deny: ["10.0.0.0/8"] }, peersOf: {} })
        assert.deepEqual(yield* AccessFiles.resolve(access), access)
      })
    ))

  it.effect("passes over comments and empty lines, and takes CRLF and a byte order mark", () =>
    withFolder((put) =>
      Effect.gen(function*() {
        const denyFile = yield* put(
          "ranges",
          "\uFEFF10.0.0.1\r\n# a comment # in it\r\n\r\n   \t\r\n\t10.0.0.2  # behind it\r\n10.0.0.3#at once\r\n #10.0.0.4"
        )
        const { peers } = yield* AccessFiles.resolve(decode({ peers: { denyFile } }))
        assert.deepEqual(peers, { deny: ["10.0.0.1", "10.0.0.2", "10.0.0.3"] })
      })
    ))

  it.effect("an allowFile without entries allows nobody, a denyFile without entries denies nobody", () =>
    withFolder((put) =>
      Effect.gen(function*() {
        const empty = yield* put("empty", "# nobody yet\n")
        assert.deepEqual((yield* AccessFiles.resolve(decode({ nodes: { allowFile: empty } }))).nodes, {
          allow: [],
          deny: []
        })
        assert.deepEqual((yield* AccessFiles.resolve(decode({ nodes: { denyFile: empty } }))).nodes, { deny: [] })
      })
    ))

  it.effect("says which file and line has which entry that cannot be used, and what it must be", () =>
    withFolder((put) =>
      Effect.gen(function*() {
        const problemIn = (access: unknown) => Effect.flip(AccessFiles.resolve(decode(access)))

        const nodes = yield* put("nodes", `# ours\n${digestOf(1)}\n\nfred # a friend\n`)
        const ofNodes = yield* problemIn({ nodes: { denyFile: nodes } })
        assert.strictEqual(
          ofNodes.message,
          `${nodes}: line 4: fred is not a node's digest, the 43 characters at the end of its address`
        )
        assert.deepEqual([ofNodes.place, ofNodes.line], [nodes, 4])

        for (const entry of ["10.0.0.0/33", "10.0.0.1, 10.0.0.2", "010.0.0.0/8", "10.1/16", "example.org"]) {
          const ranges = yield* put("ranges", `${entry}\n`)
          for (const lists of [{ allowFile: ranges }, { denyFile: ranges }]) {
            for (const access of [{ controlStreams: lists }, { peers: lists }, { peersOf: { [digestOf(1)]: lists } }]) {
              assert.strictEqual(
                (yield* problemIn(access)).message,
                `${ranges}: line 1: ${entry} is not an IP address or a CIDR range`
              )
            }
          }
        }

        const missing = yield* problemIn({ peers: { allowFile: `${nodes}.not` } })
        assert.strictEqual(missing.message, `${nodes}.not: there is no such file`)
      })
    ))
})
