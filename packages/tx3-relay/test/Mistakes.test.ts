import { assert, describe, it } from "@effect/vitest"
import * as programs from "@tx3/testing/builtPrograms"
import { Effect } from "effect"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { RelayCommand } from "tx3-relay"
import * as Yaml from "yaml"
import { changedFile } from "./utils/changedFile.js"
import { failureOf } from "./utils/failureOf.js"

const key: string = Yaml.parse(readFileSync(programs.upstreamFile, "utf8"))["tlsCertPkDer"]

describe("tx3-relay with wrong flags", () => {
  const refused: ReadonlyArray<readonly [flags: ReadonlyArray<string>, message: string]> = [
    [["--init", "--port", "1", "--bind", "tx3-rst://127.0.0.1:1"], "give --bind or --port, not both"],
    [["--init", "--port", "70000"], "--port: "],
    [["--init", "--bind", "tx3-st://127.0.0.1:1"], "--bind: a relay has tx3-rst://HOST:PORT addresses"],
    [["--port", "1"], "--port goes with --init"],
    [["--init", "status"], "--init does not go with the command"],
    [["--bind", "tx3-rst://127.0.0.1:1", "drain"], "--bind does not go with the command"],
    [["--port", "1", "check"], "--port does not go with the command check"]
  ]
  for (const [flags, message] of refused) {
    it.scoped(`refuses ${flags.join(" ")}`, () =>
      Effect.gen(function*() {
        const folder = yield* programs.temporaryFolder
        const { error, printed } = yield* failureOf(flags, { TX3_RELAY_CONFIG: join(folder, "tx3-relay.yml") })
        assert.include(RelayCommand.usageErrors, error._tag)
        assert.include(error.message, message)
        assert.strictEqual(printed, "")
        assert.deepStrictEqual(readdirSync(folder), [])
      }))
  }
})

it.effect("tx3-relay probe names the variable whose value is not a proxy", () =>
  Effect.gen(function*() {
    const address = `tx3-rst://relay.example.org:38141/${programs.upstreamDigest}`
    const { error, printed } = yield* failureOf(["probe", address], { ALL_PROXY: "ftp://me:secret@127.0.0.1:1" })
    assert.include(RelayCommand.usageErrors, error._tag)
    assert.match(error.message, /^ALL_PROXY: the scheme ftp is unknown; write http:/)
    assert.strictEqual(printed, "")
  }))

describe("tx3-relay with a wrong file", () => {
  const wrongFiles: ReadonlyArray<readonly [what: string, change: (text: string) => string, message: RegExp]> = [
    [
      "text that is not YAML",
      (text) => text.replace("maxControlStreams: 320", "maxControlStreams: [320"),
      /not YAML.*line 6/
    ],
    ["YAML that is no mapping", () => "- 1\n", /must be a YAML mapping/],
    ["an empty file", () => "", /must be a YAML mapping/],
    [
      "a setting that does not exist",
      (text) => `${text}maxFun: 1\n`,
      /maxFun: there is no such setting; there are bind, /
    ],
    [
      "a word in place of a number",
      (text) => text.replace("maxControlStreams: 320", "maxControlStreams: many"),
      /maxControlStreams: must be a whole number/
    ],
    ["a __proto__", (text) => `${text}__proto__: { admin: "off" }\n`, /__proto__: there is no such setting/],
    ["a constructor", (text) => `${text}constructor: 1\n`, /constructor: there is no such setting/],
    [
      "a constructor among lists",
      (text) => `${text}access: { nodes: { constructor: [] } }\n`,
      /access\.nodes\.constructor: there is no such setting/
    ],
    ["no bind address", (text) => text.replace(/ {2}- .*\n/, "").replace("bind:", "bind: []"), /bind: must be a list/],
    [
      "an address without its scheme",
      (text) => text.replace("tx3-rst://0.0.0.0:0", "0.0.0.0:0"),
      /bind: "0\.0\.0\.0:0" is no address to listen at: /
    ],
    ["no tlsCertDer", (text) => text.replace(/tlsCertDer.*\n/, ""), /tlsCertDer: is missing/],
    ["no tlsCertPkDer", (text) => text.replace(/tlsCertPkDer.*\n/, ""), /tlsCertPkDer: is missing/],
    [
      "a tlsCertDer that is no base64",
      (text) => text.replace("tlsCertDer: M", "tlsCertDer: M%"),
      /tlsCertDer: must be base64/
    ],
    [
      "a tlsCertPkDer that is cut short",
      (text) => text.replace(key, key.slice(0, 40)),
      /tlsCertDer, tlsCertPkDer: the private key is not readable/
    ]
  ]
  for (const [what, change, message] of wrongFiles) {
    it.scoped(`refuses ${what}`, () =>
      Effect.gen(function*() {
        const file = yield* changedFile(change)
        const { error, printed } = yield* failureOf(["-c", file])
        assert.include(RelayCommand.usageErrors, error._tag)
        assert.isTrue(error.message.startsWith(`${file}: `), error.message)
        assert.match(error.message, message)
        assert.strictEqual(printed, "")
      }))
  }

  it.scoped("prints no part of the private key that is in the file", () =>
    Effect.gen(function*() {
      const changes: ReadonlyArray<readonly [from: string, to: string]> = [
        ["tlsCertPkDer: ", "tlsCertPkDer: \""],
        ["tlsCertPkDer: ", "tlsCertPkDer "],
        ["tlsCertPkDer: ", "tlsCertPkDer: x: "],
        ["tlsCertPkDer: ", "tlsCertPkDer: *"],
        ["tlsCertPkDer: ", "tlsCertPkDer:\n  - "],
        [key, key.slice(4)]
      ]
      // The first 50 characters say only what kind of key it is.
      const secret = Array.from({ length: key.length - 58 }, (_, index) => key.slice(50 + index, 58 + index))
      for (const [from, to] of changes) {
        const file = yield* changedFile((text) => text.replace(from, to))
        const { error, printed } = yield* failureOf(["check", "-c", file])
        assert.deepStrictEqual(
          secret.filter((part) => `${printed}${error.message}`.includes(part)),
          [],
          `${from} -> ${to}`
        )
      }
    }))
})
