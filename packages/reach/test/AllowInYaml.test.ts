import { assert, describe, it } from "@effect/vitest"
import { FastCheck } from "effect"
import * as Yaml from "yaml"
import { changed } from "../src/internal/allowInYaml.js"

const service = (allow: string, indent = "  ") =>
  `# mine\nexpose:\n${indent}web:   # the web\n${indent}${indent}service: 127.0.0.1:80\n${allow}` +
  `${indent}ssh: { service: 'h:22',  allow: [x] } # ssh\n\nforward: {}\n`

const added = (before: string, after: string) =>
  assert.strictEqual(changed(service(before), "web", { add: "new" }), service(after))

const removedFrom = (numbers: ReadonlyArray<number>, before: string, after: string) =>
  assert.strictEqual(changed(service(before), "web", { remove: new Set(numbers) }), service(after))

describe("the list of a service", () => {
  it("gets an entry, and all other text stays", () => {
    added("", "    allow: [new]\n")
    added("    allow: []  # no one\n", "    allow: [new]  # no one\n")
    added("    allow: [a, 'b' ]  # two\n", "    allow: [a, 'b', new ]  # two\n")
    added(
      "    allow: [\n      a, # first\n      b # second\n    ]\n",
      "    allow: [\n      a, # first\n      b, new # second\n    ]\n"
    )
    added(
      "    allow:\n      - a # first\n      # second\n      - b\n",
      "    allow:\n      - a # first\n      # second\n      - b\n      - new\n"
    )
    added(
      "    allow:\n    -   a\n    allowTruncated: true\n",
      "    allow:\n    -   a\n    -   new\n    allowTruncated: true\n"
    )
  })

  it("loses entries, and all other text stays", () => {
    removedFrom([0], "    allow: [a, b]\n", "    allow: [b]\n")
    removedFrom([1], "    allow: [a, b]\n", "    allow: [a]\n")
    removedFrom([0, 1], "    allow: [a, b] # no one\n", "    allow: [] # no one\n")
    removedFrom([1, 2], "    allow: [a, b, c, d]\n", "    allow: [a, d]\n")
    removedFrom([0, 2, 3], "    allow: [a, b, c, d]\n", "    allow: [b]\n")
    removedFrom(
      [2],
      "    allow: [\n      a, # first\n      b, # second\n      c # third\n    ]\n",
      "    allow: [\n      a, # first\n      b, # second\n    ]\n"
    )
    removedFrom(
      [0],
      "    allow: [\n      a, # first\n      # on the second\n      b\n    ]\n",
      "    allow: [\n      # on the second\n      b\n    ]\n"
    )
    removedFrom([0], "    allow:\n      - a # first\n      - b # second\n", "    allow:\n      - b # second\n")
    removedFrom([0, 1], "    allow: # two\n    - a\n    - b\n", "    allow: [] # two\n")
  })

  it("is that of the service alone, in a flow, with CRLF, and in a file without a line's end", () => {
    assert.strictEqual(
      changed("expose: { a: { service: 'h:1', identity: i } }", "a", { add: "new" }),
      "expose: { a: { service: 'h:1', allow: [new], identity: i } }"
    )
    assert.strictEqual(
      changed("{\"expose\":{\"a\":{\"service\":\"h:1\",\"allow\":[\"x\"]}}}", "a", { add: "new" }),
      "{\"expose\":{\"a\":{\"service\":\"h:1\",\"allow\":[\"x\", new]}}}"
    )
    const crlf = "expose:\r\n  a:\r\n    service: h:1\r\n    allow:\r\n      - b\r\n"
    assert.strictEqual(changed(crlf, "a", { add: "new" }), `${crlf}      - new\r\n`)
    assert.strictEqual(
      changed(crlf, "a", { remove: new Set([0]) }),
      "expose:\r\n  a:\r\n    service: h:1\r\n    allow: []\r\n"
    )
    assert.strictEqual(
      changed("expose:\n  a:\n    service: h:1", "a", { add: "new" }),
      "expose:\n  a:\n    service: h:1\n    allow: [new]"
    )
  })

  it("has a name that looks like a number in quotes", () => {
    const text = changed(service("    allow: [a]\n"), "web", { add: "0123" })!
    assert.deepStrictEqual(Yaml.parse(text).expose.web.allow, ["a", "0123"])
  })

  it("is not changed where another service would change with it, or where it stands elsewhere", () => {
    const shared = "expose:\n  a: { service: 'h:1', allow: &friends [x] }\n  b: { service: 'h:2', allow: *friends }\n"
    assert.isUndefined(changed(shared, "a", { add: "new" }))
    assert.isUndefined(changed(shared, "b", { add: "new" }))
    const whole = "expose:\n  a: &a { service: 'h:1' }\n  b: *a\n"
    assert.isUndefined(changed(whole, "a", { add: "new" }))
    assert.isUndefined(changed(whole, "b", { add: "new" }))
  })

  it("is, however it is written, what was asked for, or is left as it was", () => {
    const entries = FastCheck.array(FastCheck.constantFrom("a", "-b", "c.d", "_e", "12", "true"), { maxLength: 5 })
    const written = FastCheck.constantFrom(
      (list: ReadonlyArray<string>) => Yaml.stringify({ allow: list }, { indentSeq: false }),
      (list: ReadonlyArray<string>) => Yaml.stringify({ allow: list }),
      (list: ReadonlyArray<string>) => `allow: ${JSON.stringify(list)} # flow\n`,
      (list: ReadonlyArray<string>) => `allow: [\n${list.map((entry) => `  "${entry}", # it\n`).join("")}]\n`
    )
    FastCheck.assert(FastCheck.property(entries, written, FastCheck.nat(32), (list, written, bits) => {
      const text = `expose:\n  s:\n    service: h:1\n${written(list).replace(/^(?=.)/gm, "    ")}\n# end\n`
      const allowOf = (text: string | undefined) => Yaml.parse(text!).expose.s.allow
      assert.deepStrictEqual(allowOf(text), list)
      assert.deepStrictEqual(allowOf(changed(text, "s", { add: "new" })), [...list, "new"])
      const numbers = new Set(list.flatMap((_, index) => (bits >> index) % 2 === 1 ? [index] : []))
      assert.deepStrictEqual(
        allowOf(changed(text, "s", { remove: numbers })),
        list.filter((_, index) => !numbers.has(index))
      )
    }))
  })
})
