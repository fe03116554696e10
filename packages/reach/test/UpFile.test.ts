import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { IdentityFile } from "@tx3/files"
import type { CertDigest } from "@tx3/protocol"
import { AllowList, KnownFile, LocalEndpoint, Up, UpFile, UpLog } from "@tx3/reach"
import * as programs from "@tx3/testing/builtPrograms"
import { ConfigProvider, Effect, Option } from "effect"
import { copyFileSync, readdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"

const relay = `tx3-rst://127.0.0.1:1/${"A".repeat(43)}`

const written = (text: string) =>
  Effect.map(programs.temporaryFolder, (folder) => {
    const file = join(folder, "tx3.yml")
    writeFileSync(file, text)
    return { file, folder }
  })

describe("the file of tx3 up", () => {
  it.scoped("has no setting and no service of a name that every object has", () =>
    Effect.gen(function*() {
      for (
        const [text, place] of [
          ["__proto__: { identity: x }", "__proto__"],
          ["constructor: 1", "constructor"],
          ["expose: { __proto__: { service: \"127.0.0.1:22\" } }", "expose.__proto__"]
        ] as const
      ) {
        const { file } = yield* written(`${text}\nrelays: ["${relay}"]\n`)
        const error = yield* Effect.flip(UpFile.read(file))
        assert.include(error.message, `${file}: ${place}: there is no such setting; there are `)
      }
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scoped("has defaults for all services, and paths from its own folder", () =>
    Effect.gen(function*() {
      const { file, folder } = yield* written(`
identity: me.pem
relays: ["${relay}"]
known: names
expose:
  web: { service: "unix:web.sock", allow: [friend], allowFile: /etc/allowed }
  ssh: { service: "127.0.0.1:22", identity: ssh.pem, relays: ["tx3-st://0.0.0.0:0"], allowTruncated: true }
forward:
  home: { to: ["${relay}"], listen: "127.0.0.1:2222" }
`)
      const up = yield* UpFile.read(file)
      // As JSON, since what is not a plain object may pass for another.
      const asJson = (value: unknown) => JSON.parse(JSON.stringify(value))
      assert.deepStrictEqual(
        asJson(up),
        asJson({
          path: file,
          status: join(folder, "tx3.sock"),
          known: Option.some(join(folder, "names")),
          expose: [
            {
              name: "web",
              service: LocalEndpoint.Unix({ path: join(folder, "web.sock") }),
              identity: join(folder, "me.pem"),
              relays: [relay],
              allow: ["friend"],
              allowFile: Option.some("/etc/allowed"),
              allowTruncated: false
            },
            {
              name: "ssh",
              service: LocalEndpoint.Tcp({ host: "127.0.0.1", port: 22 }),
              identity: join(folder, "ssh.pem"),
              relays: ["tx3-st://0.0.0.0:0"],
              allow: undefined,
              allowFile: Option.none(),
              allowTruncated: true
            }
          ],
          forward: [
            {
              name: "home",
              to: [relay],
              listen: LocalEndpoint.Tcp({ host: "127.0.0.1", port: 2222 }),
              identity: Option.some(join(folder, "me.pem")),
              allowTruncated: false
            }
          ]
        })
      )
    }).pipe(Effect.provide(NodeContext.layer)))

  const problems: ReadonlyArray<readonly [text: string, problem: string]> = [
    ["{", "not YAML: "],
    ["[]", "must be a mapping with expose or forward in it"],
    ["", "there is nothing in it to expose or to forward"],
    ["exposed: {}", "exposed: there is no such setting; there are identity, relays, known, status, expose, forward"],
    ["expose: { ssh: { service: 22 } }", "expose.ssh.service: "],
    ["expose: { ssh: { service: nowhere } }", "expose.ssh.service: \"nowhere\" is no endpoint"],
    ["expose: { ssh: { service: 'h:1' } }", "expose.ssh.identity: is missing"],
    ["expose: { ssh: { service: 'h:1', identity: x } }", "expose.ssh.relays: is missing"],
    ["expose: { ssh: { service: 'h:1', identity: x, relays: [] } }", "expose.ssh.relays"],
    [`relays: ${relay}`, "relays: must be a list of addresses"],
    ["relays: [nowhere]", "relays.0: \"nowhere\": scheme"],
    ["expose: { 'a b': { service: 'h:1' } }", "expose.a b: "],
    ["{ forward: *nowhere }", "not YAML that can be used: it has an alias"],
    [
      `{ identity: i, relays: ['${relay}'], expose: { a: { service: 'h:1' } }, forward: { a: { to: ['${relay}'], listen: 'h:1' } } }`,
      "forward.a: there is an expose.a already"
    ],
    ["expose: { ssh: { service: 'h:1', allowTruncated: maybe } }", "expose.ssh.allowTruncated: "],
    [`forward: { web: { to: ['${relay}'] } }`, "forward.web.listen: is missing"],
    [`forward: { web: { to: '${relay}', listen: 'h:1' } }`, "forward.web.to: must be a list of a node's addresses"]
  ]
  for (const [text, problem] of problems) {
    it.scoped(`says what is wrong with ${text === "" ? "an empty one" : text.replaceAll(relay, "ADDRESS")}`, () =>
      Effect.gen(function*() {
        const { file } = yield* written(text)
        const error = yield* Effect.flip(UpFile.read(file))
        assert.strictEqual(error._tag, "UpFileError")
        assert.include(error.message, `${file}: ${problem}`)
      }).pipe(Effect.provide(NodeContext.layer)))
  }

  const reporter: Up.Reporter = { tell: () => Effect.void, onNode: () => Effect.void, onEvent: () => Effect.void }
  const started = (file: string) =>
    Effect.flatMap(
      UpFile.read(file),
      (up) => Up.start(up, { version: "0.0.0", log: UpLog.make(), reporterOf: () => reporter })
    )

  const troubles: ReadonlyArray<readonly [text: string, tag: string, problem: string]> = [
    [
      `{ identity: i.pem, relays: ['${relay}'], expose: { a: { service: 'h:1' } } }`,
      "UpFileError",
      "i.pem: there is no such file; make one with: tx3 keygen FILE"
    ],
    // What may pass is told apart, since whoever starts it may try again.
    [
      `forward: { web: { to: ['${relay}'], listen: '192.0.2.1:1' } }`,
      "UpError",
      "forward.web: cannot listen at 192.0.2.1:1"
    ]
  ]
  for (const [text, tag, problem] of troubles) {
    it.scopedLive(`says what is wrong when it starts: ${problem}`, () =>
      Effect.gen(function*() {
        const { file } = yield* written(text)
        const error = yield* Effect.flip(started(file))
        assert.strictEqual(error._tag, tag)
        assert.include(error.message, problem)
      }).pipe(Effect.provide(NodeContext.layer)))
  }

  it.scopedLive("takes no two services with the same identity, though it be in two files", () =>
    Effect.gen(function*() {
      const { file, folder } = yield* written(
        `{ relays: ['${relay}'], expose: { a: { service: 'h:1', identity: a.pem }, b: { service: 'h:2', identity: b.pem } } }`
      )
      yield* IdentityFile.create(join(folder, "a.pem"))
      copyFileSync(join(folder, "a.pem"), join(folder, "b.pem"))
      const error = yield* Effect.flip(started(file))
      assert.strictEqual(error._tag, "UpFileError")
      assert.include(error.message, `${file}: expose.b.identity: is that of a, too`)
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scopedLive("refuses an endpoint whose path in the file's folder is too long for a socket", () =>
    Effect.gen(function*() {
      const path = `unix:${"x".repeat(100)}`
      const { file } = yield* written(
        `{ identity: me.pem, relays: ['${relay}'], expose: { web: { service: '${path}' } } }`
      )
      const exposed = yield* Effect.flip(UpFile.read(file))
      assert.match(exposed.message, /: expose\.web\.service: cannot use unix:.*: its path is longer than the 107 bytes/)
      writeFileSync(file, `{ forward: { web: { to: ['${relay}'], listen: '${path}' } } }`)
      const forwarded = yield* Effect.flip(UpFile.read(file))
      assert.match(
        forwarded.message,
        /: forward\.web\.listen: cannot use unix:.*: its path is longer than the 107 bytes/
      )
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scopedLive("refuses a status socket whose path is too long for one, and leaves nothing behind", () =>
    Effect.gen(function*() {
      const { file, folder } = yield* written(
        `{ status: ${"x".repeat(108)}, forward: { web: { to: ['${relay}'], listen: '127.0.0.1:0' } } }`
      )
      const error = yield* Effect.flip(started(file))
      assert.include(error.message, "longer than the 107 bytes")
      assert.deepStrictEqual(readdirSync(folder), ["tx3.yml"])
    }).pipe(Effect.provide(NodeContext.layer)))
})

describe("who may connect", () => {
  const me = "A".repeat(43) as CertDigest.CertDigest

  const allows = (entries: ReadonlyArray<string> | undefined) =>
    AllowList.make({ entries, place: "allow", file: Option.none(), known: "/dev/null", tell: () => Effect.void })

  it.effect("is everybody where nothing is said, and nobody with an empty list", () =>
    Effect.gen(function*() {
      assert.isTrue(Option.isNone(yield* allows(undefined)))
      assert.isFalse(yield* Option.getOrThrow(yield* allows([])).allows(me))
      assert.isTrue(yield* Option.getOrThrow(yield* allows([me])).allows(me))
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scoped("is found in a file of names that has a line twice, and not in one that contradicts itself", () =>
    Effect.gen(function*() {
      const file = join(yield* programs.temporaryFolder, "known")
      writeFileSync(file, `${me} me\n${me} me\n`)
      assert.deepStrictEqual(Array.from((yield* KnownFile.read(file)).names), [[me, "me"]])
      writeFileSync(file, `${me} me\n${me} you\n`)
      assert.include((yield* Effect.flip(KnownFile.read(file))).message, `line 2: ${me} has the name me already`)
    }).pipe(Effect.provide(NodeContext.layer)))

  it.effect("without HOME there is no file of names, and none in the current folder is taken", () =>
    Effect.gen(function*() {
      const pathWith = (...variables: ReadonlyArray<readonly [string, string]>) =>
        Effect.withConfigProvider(KnownFile.defaultPath, ConfigProvider.fromMap(new Map(variables)))
      const error = yield* Effect.flip(pathWith())
      assert.strictEqual(error._tag, "NoKnownFile")
      assert.include(error.message, "name one with --known FILE")
      assert.strictEqual(yield* pathWith(["HOME", "/h"]), "/h/.config/tx3/known")
      assert.strictEqual(yield* pathWith(["HOME", "/h"], ["XDG_CONFIG_HOME", "/c"]), "/c/tx3/known")
      assert.strictEqual(yield* pathWith(["USERPROFILE", "/u"]), "/u/.config/tx3/known")
      assert.strictEqual(yield* pathWith(["HOME", "/h"], ["USERPROFILE", "/u"]), "/h/.config/tx3/known")
      assert.strictEqual(yield* pathWith(["TX3_KNOWN", "/k"]), "/k")
    }).pipe(Effect.provide(NodeContext.layer)))
})
