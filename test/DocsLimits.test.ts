import { assert, describe, it } from "@effect/vitest"
import { RelayError } from "@tx3/relay"
import * as packaging from "@tx3/testing/packaging"
import * as constants from "./utils/constants.js"

const page = packaging.read("docs/limits.md")

/** Numbers that bound nothing. */
const exceptions = [
  "linuxCalls.ts tcpRtoMaxMs", // the option's number
  "linuxCalls.ts tcpUserTimeout", // the option's number
  "TcpInfo.ts infoBytes", // the size of the kernel's struct
  "Preamble.ts length", // the protocol's
  "transfer.ts hashBytes", // SHA-256
  "Meeting.ts digestBytes", // SHA-256
  "Tx3Connection.ts bindingBytes", // RFC 9266's
  "newCertificate.ts ownBytes", // a format
  "derivedIdentity.ts keyBytes", // FIPS 186-5's
  ...["shareBytes", "tagBytes", "hashInputBytes"].map((name) => `cpace.ts ${name}`), // CPace's
  "Socks.ts version", // the protocol's
  "compression.ts headerBytes", // a format
  "compression.ts compressedBit", // a format
  "datagramFrames.ts lengthBytes", // a format
  "datagramFrames.ts maxDatagramBytes", // what the format has room for
  "RelayFile.ts defaultPort",
  "VolumeQuota.ts dayMs", // a unit
  "budget.ts second", // a unit
  "budget.ts rateAt", // an index
  "Program.ts failed", // an exit code
  "Program.ts calledWrongly", // an exit code
  "Tx3HttpClient.ts cutOffCode", // a WebSocket close code
  ...["fixedBytes", "version2", "lastFamily", "lastProtocol"].map((name) => `proxyProtocol.ts ${name}`) // a format
]

const units: Record<string, number> = {
  ms: 1,
  s: 1000,
  min: 60_000,
  h: 3_600_000,
  KiB: 1024,
  MiB: 1024 * 1024
}

/** What a cell says, in the unit that the constant's name says. */
const valueOf = (name: string, cell: string) => {
  const [, number, unit] = /^([\d.,]+)(?: (ms|s|min|h|KiB|MiB))?$/.exec(cell)!
  const value = Number(number!.replaceAll(",", "")) * (unit === undefined ? 1 : units[unit]!)
  return /econds$/.test(name) ? value / 1000 : /Ns$/.test(name) ? value * 1e6 : value
}

interface Row {
  readonly name: string
  readonly cell: string
  readonly file: string
}

const rows: ReadonlyArray<Row> = Array.from(
  page.matchAll(/^\| `([^`]+)` \| ([^|]+) \| [^|]*\| [^|]*\| `(\w+\.ts)` \|$/gm),
  ([, name, cell, file]) => ({ name: name!, cell: cell!, file: file! })
)

const keyOf = ({ file, name }: { readonly file: string; readonly name: string }) => `${file} ${name}`

/** Where the page and some constants differ. */
const differences = (found: ReadonlyArray<constants.Constant>, rows: ReadonlyArray<Row>) => {
  const listed = new Map(rows.map((row) => [keyOf(row), row]))
  const keys = new Set(found.map(keyOf))
  return [
    ...found.flatMap((constant) => {
      const row = listed.get(keyOf(constant))
      if (row === undefined) {
        return exceptions.includes(keyOf(constant)) ? [] : [`${keyOf(constant)} is not on the page`]
      }
      return constant.value === undefined || valueOf(constant.name, row.cell) === constant.value
        ? []
        : [`${keyOf(constant)} is ${constant.value}, and ${row.cell} on the page`]
    }),
    ...[...listed.keys(), ...exceptions].filter((key) => !keys.has(key)).map((key) => `${key} is not in the sources`)
  ]
}

describe("docs/limits.md", () => {
  const found = constants.all()

  it("lists every constant that bounds something, with its value and file", () => {
    assert.isAbove(found.length, 150)
    assert.deepStrictEqual(differences(found, rows), [])
  })

  it("would miss a new constant, a changed value and a constant that is gone", () => {
    const added = constants.constantsOf(
      "packages/relay/src/New.ts",
      "const pauseMs = 5 * 60_000\n" +
        "const entries = 12\n" +
        "const options = { linesMax: 7, name: 3 }\n" +
        "const pause = Effect.sleep(\"3 seconds\")\n" +
        "const make = () => { const maxThings = 9; let count = 4; return maxThings + count }\n"
    )
    assert.deepStrictEqual(differences([...found, ...added], rows), [
      "New.ts pauseMs is not on the page",
      "New.ts entries is not on the page",
      "New.ts options.linesMax is not on the page",
      "New.ts sleep(\"3 seconds\") is not on the page",
      "New.ts maxThings is not on the page"
    ])
    const changed = found.map((constant) => constant.name === "deadAfterMs" ? { ...constant, value: 29_000 } : constant)
    assert.deepStrictEqual(differences(changed, rows), ["TcpInfo.ts deadAfterMs is 29000, and 28 s on the page"])
    assert.deepStrictEqual(
      differences(found.filter(({ name }) => name !== "deadAfterMs"), rows),
      ["TcpInfo.ts deadAfterMs is not in the sources"]
    )
  })

  it("counts a waiting peer's ends under reasons that there are", () => {
    const section = page.slice(page.indexOf("## How a waiting peer ends"), page.indexOf("## Where bytes"))
    const reasons = Array.from(section.matchAll(/^\|[^|]+\| `(\w+)` \|/gm), ([, reason]) => reason!)
    assert.isAbove(reasons.length, 4)
    assert.deepStrictEqual(
      reasons.filter((reason) => !(RelayError.rejectionReasons as ReadonlyArray<string>).includes(reason)),
      []
    )
  })
})
