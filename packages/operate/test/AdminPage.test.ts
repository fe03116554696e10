import { NodeFileSystem } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import type { RelayStatus } from "@tx3/operate"
import { AdminClient, AdminPage, OperatedRelay } from "@tx3/operate"
import { OperatorConfig } from "@tx3/policy"
import { Identity } from "@tx3/protocol"
import { Relay, RelayTest } from "@tx3/relay"
import { sharedLayer } from "@tx3/testing/sharedLayer"
import { withPrograms } from "@tx3/testing/withPrograms"
import { Context, Effect, Exit, FastCheck, Layer, Logger, Schema, Scope } from "effect"
import { mkdtempSync, readdirSync, rmSync } from "node:fs"
import type { AddressInfo } from "node:net"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Browser from "./utils/browser.js"
import * as FakeAdmin from "./utils/fakeAdmin.js"

const pageFolder = new URL("../page/", import.meta.url)
const sharedFolder = new URL("../../local-http/page/", import.meta.url)

/** A module of the page that runs anywhere. They have no types. */
const load = (name: string, folder = pageFolder) => Effect.promise(() => import(new URL(name, folder).href))

/** What each chart draws: times, then a column of each series. */
const drawn = "import('/page.js').then(({ charts }) => charts.map(({ chart }) => chart.data))"

type Drawn = ReadonlyArray<ReadonlyArray<ReadonlyArray<number | null>>>

const output = (chart: number, series: number) =>
  `#charts figure:nth-child(${chart + 1}) li:nth-child(${series + 1}) output`

/** How many pixels of a chart have about this variable's colour: a line that is thin and slants has it nowhere exactly. */
const pixels = (chart: number, colour: string) =>
  `(() => {
  const canvas = document.querySelectorAll("#charts canvas")[${chart}]
  // a copy: the browser warns of a canvas that is read repeatedly
  const copy = Object.assign(document.createElement("canvas"), { height: canvas.height, width: canvas.width })
  const context = copy.getContext("2d", { willReadFrequently: true })
  context.drawImage(canvas, 0, 0)
  const { data } = context.getImageData(0, 0, copy.width, copy.height)
  const hex = getComputedStyle(document.documentElement).getPropertyValue("--${colour}").trim()
  const wanted = [1, 3, 5].map((from) => parseInt(hex.slice(from, from + 2), 16))
  let found = 0
  for (let i = 0; i < data.length; i += 4) {
    found += wanted.every((value, at) => Math.abs(data[i + at] - value) < 24) && data[i + 3] > 200
  }
  return found
})()`

const isWithinItsWidth = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"

const netErrors = /^Failed to load resource: net::ERR_/

/** Of a relay that does this now, a second after a sample. */
const next = (
  before: FakeAdmin.Now,
  changes: Partial<RelayStatus.Sample> = {},
  status: Partial<RelayStatus.Status> = {},
  events: ReadonlyArray<RelayStatus.Event> = []
): FakeAdmin.Now => ({
  events,
  sample: { ...before.sample, at: before.sample.at + 1000, ...changes },
  status: { ...before.status, ...status }
})

const idle = (): FakeAdmin.Now => ({ events: [], sample: FakeAdmin.sample(), status: FakeAdmin.status() })

describe("the page's modules", () => {
  it.effect("draw no negative rate and join no two runs, whatever comes", () =>
    Effect.gen(function*() {
      const { makeHistory } = yield* load("history.js")
      const growth = FastCheck.nat(1000)
      const second = FastCheck.record({
        step: FastCheck.constantFrom(900, 1000, 1100, 3000, 60_000, -5000),
        growth,
        // the connection breaks, and the relay may have started anew behind it
        happens: FastCheck.constantFrom("nothing", "nothing", "nothing", "break", "restart", "restartUnseen")
      })
      FastCheck.assert(FastCheck.property(FastCheck.array(second, { maxLength: 60 }), (seconds) => {
        const history = makeHistory()
        let samples: Array<RelayStatus.Sample> = []
        let at = 1_000_000
        let startedAt = at
        let total = 0
        const starts = [startedAt]
        history.replace([])
        for (const { growth, happens, step } of seconds) {
          // no two runs have a sample of the very same moment
          at += step + (happens.startsWith("restart") ? 1 : 0)
          if (happens === "restart" || happens === "restartUnseen") {
            // the new run may have carried more already than the one before
            total = happens === "restart" ? 0 : total + 10 * growth
            startedAt = at
            starts.push(at)
            samples = []
          }
          if (happens !== "nothing") {
            history.replace(samples)
          }
          total += growth
          const sample = FakeAdmin.sample({ at, bytesFromPeersTotal: total, rejectedTotal: total })
          samples = [...samples, sample]
          history.add(sample, startedAt)

          const columns = history.columns()
          assert.strictEqual(columns.at.at(-1), at / 1000)
          for (const rate of [...columns.bytesFromPeers, ...columns.bytesFromNodes, ...columns.rejected]) {
            assert.isTrue(rate === null || rate >= 0 && rate <= 1000 / 0.9, `a rate of ${rate}`)
          }
          columns.at.forEach((time: number, index: number) => {
            assert.isTrue(index === 0 || time > columns.at[index - 1])
          })
        }
      }))
    }))

  it.effect("keep a quarter of an hour, over reconnections", () =>
    Effect.gen(function*() {
      const { makeHistory } = yield* load("history.js")
      const history = makeHistory()
      const samples = Array.from({ length: 1000 }, (_, second) =>
        FakeAdmin.sample({ at: second * 1000, bytesFromPeersTotal: second * 500 }))
      history.replace(samples.slice(0, 900))
      samples.slice(900, 950).forEach((sample) =>
        history.add(sample, 1)
      )
      history.replace(samples.slice(60, 960))
      samples.slice(960).forEach((sample) => history.add(sample, 1))
      const { at, bytesFromPeers, splices } = history.columns()
      assert.strictEqual(at.at(-1), 999)
      assert.isAtMost(at[0], 99)
      // the same run: no gap where the page was away
      assert.deepStrictEqual(Array.from(new Set(bytesFromPeers.slice(1))), [500])
      assert.notInclude(splices, null)
    }))

  it.effect("understand an event stream, however it is cut", () =>
    Effect.gen(function*() {
      const { parser } = yield* load("stream.js")
      const text = FastCheck.stringMatching(/^[a-z:{}" ü€]{0,20}$/)
      const events = FastCheck.array(FastCheck.tuple(FastCheck.constantFrom("history", "now"), text))
      const end = FastCheck.constantFrom("\n", "\r\n", "\r")
      const cuts = FastCheck.array(FastCheck.integer({ min: 1, max: 9 }), { minLength: 1 })
      FastCheck.assert(FastCheck.property(events, end, cuts, (events, end, cuts) => {
        const whole = events.map(([name, data]) => `: comment${end}event: ${name}${end}data: ${data}${end}${end}`).join(
          ""
        )
        const heard: Array<[string, string]> = []
        const feed = parser((name: string, data: string) => heard.push([name, data]))
        for (let from = 0, cut = 0; from < whole.length; cut++) {
          const length = cuts[cut % cuts.length]!
          feed(whole.slice(from, from + length))
          from += length
        }
        // whether a last carriage return ends the line is not known before more comes
        feed(": more\n")
        assert.deepStrictEqual(heard, events)
      }))
    }))

  it.effect("write numbers for people", () =>
    Effect.gen(function*() {
      const { bytes, bytesPerSecond, count, duration, percent } = yield* load("format.js", sharedFolder)
      assert.deepStrictEqual(
        [0, 999, 999.6, 1000, 12_345, 999_499, 999_999, 4_194_304, 2e12].map(bytes),
        ["0 B", "999 B", "1 kB", "1 kB", "12.3 kB", "999 kB", "1 MB", "4.19 MB", "2 TB"]
      )
      assert.deepStrictEqual(
        [bytesPerSecond(1500), bytesPerSecond(null), count(20480), count(undefined), percent(0.8999)],
        ["1.5 kB/s", "–", "20,480", "–", "89 %"]
      )
      assert.deepStrictEqual(
        [0, 59.9, 61, 3600, 100_000, 40 * 86400].map(duration),
        ["0 s", "59 s", "1 min 1 s", "1 h 0 min", "1 d 3 h", "40 d 0 h"]
      )
    }))
})

describe("the page's files", () => {
  it.scopedLive("are all served, with their types and a policy that lets nothing else in", () =>
    Effect.gen(function*() {
      const { url } = yield* FakeAdmin.start()
      const types: Record<string, string> = { css: "text/css", html: "text/html", js: "text/javascript" }
      for (const path of AdminPage.paths) {
        const response = yield* Effect.promise(() => fetch(new URL(path, url)))
        assert.strictEqual(response.status, 200, path)
        assert.strictEqual(
          response.headers.get("content-type"),
          `${types[path === "/" ? "html" : path.split(".").at(-1)!]}; charset=utf-8`
        )
        assert.strictEqual(response.headers.get("cache-control"), "no-cache")
        assert.strictEqual(response.headers.get("referrer-policy"), "no-referrer")
        assert.strictEqual(response.headers.get("x-content-type-options"), "nosniff")
        assert.strictEqual(
          response.headers.get("content-security-policy"),
          "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
            "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
        )
        assert.isAbove((yield* Effect.promise(() => response.text())).length, 100)
      }
      const served = [pageFolder, sharedFolder].flatMap((folder) => readdirSync(folder))
        .map((name) => name === "index.html" ? "/" : `/${name}`)
      assert.sameMembers([...served, "/uplot.css", "/uplot.js", "/words.js"], Array.from(AdminPage.paths))
    }))
})

withPrograms(["chromium-headless-shell"], () => {
  describe("the page", () => {
    const inBrowser = sharedLayer(Browser.layer)

    inBrowser("shows what the relay remembers", () =>
      Effect.gen(function*() {
        const { url } = yield* FakeAdmin.start(FakeAdmin.busy)
        const page = yield* Browser.open(url)
        yield* page.shows("#connection", "Live")
        yield* page.shows("#state", "listening")
        yield* page.shows("#facts", /Version0\.1\.0Up11 min 0 s.*Transportkernel.*Memory84 MB/)
        yield* page.shows("#names div:nth-child(3) code", FakeAdmin.busy.now.status.addresses[1]!)
        yield* page.shows(
          "#charts figure:nth-child(4) .total",
          /since the start: too many unsettled connections of one address [\d,]+, asked for a node that is not here 22/
        )
        yield* page.shows("#sources tr:nth-child(3) th", "2001:db8:1:2::/64")
        yield* page.shows("#sources tr:first-child", "198.51.100.714250 MBBan")
        yield* page.until("document.querySelectorAll('#events li').length === 24")
        yield* page.shows("#events li:first-child .text", "node uDYTZoCR registered from 203.0.113.25")
        yield* page.shows("title", `${FakeAdmin.busy.now.status.splices} splices · tx3 relay`)

        const charts = yield* page.evaluate<Drawn>(drawn)
        assert.strictEqual(charts.length, 4)
        for (const [at, ...columns] of charts) {
          assert.strictEqual(at!.length, 902)
          columns.forEach((column) => assert.isTrue(column.every((value) => value === null || value >= 0)))
        }
        // the restart in the middle of it
        assert.strictEqual(charts[1]![1]!.filter((value) => value === null).length, 1)
        for (const [chart, colour] of [[0, "a"], [0, "b"], [1, "a"], [2, "a"], [3, "c"]] as const) {
          assert.isAbove(yield* page.evaluate<number>(pixels(chart, colour)), 50, `chart ${chart} in ${colour}`)
        }
        assert.match(
          (yield* Effect.promise(() =>
            page.page.locator("#charts [role=slider]").nth(0).getAttribute("aria-valuetext")
          ))!,
          /^Now; [\d.]+ MB\/s from peers, at most [\d.]+ MB\/s; [\d.]+ MB\/s from nodes, at most/
        )
        yield* page.screenshot("busy-light")
      }))

    inBrowser("moves with the relay", () =>
      Effect.gen(function*() {
        const first = idle()
        const relay = yield* FakeAdmin.start({ now: first })
        const page = yield* Browser.open(relay.url)
        yield* page.shows(output(1, 0), "0")
        const second = next(
          first,
          {
            bytesFromNodesTotal: 5_000_000,
            bytesFromPeersTotal: 12_300,
            controlStreams: 7,
            pending: 2,
            rejectedTotal: 3,
            splices: 1234
          },
          { uptimeSeconds: 90_061 },
          [{ at: Date.now(), kind: "operator", text: "log level set to debug" }]
        )
        yield* relay.tell(second)
        yield* page.shows(output(0, 0), "12.3 kB/s")
        yield* page.shows(output(0, 1), "5 MB/s")
        yield* page.shows(output(1, 0), "1,234")
        yield* page.shows(output(1, 1), "2")
        yield* page.shows(output(2, 0), "7")
        yield* page.shows(output(3, 0), "3/s")
        yield* page.shows("#events li", /operatorlog level set to debug$/)
        yield* page.shows("#facts div:nth-child(2) dd", "1 d 1 h")
        yield* relay.tell(next(second, { bytesFromPeersTotal: 2_012_300 }))
        yield* page.shows(output(0, 0), "2 MB/s")
        yield* page.shows(output(0, 1), "0 B/s")
        yield* page.shows(output(3, 0), "0/s")
      }))

    inBrowser("tells each event once, though the history and what follows overlap", () =>
      Effect.gen(function*() {
        const event = (at: number) => ({ at, kind: "node" as const, text: `node ${at}` })
        const now = { ...idle(), events: [event(2), event(3)] }
        const relay = yield* FakeAdmin.start({ history: { events: [event(1), event(2)], samples: [] }, now })
        const page = yield* Browser.open(relay.url)
        yield* page.shows("#events li:first-child .text", "node 3")
        yield* page.until("document.querySelectorAll('#events li').length === 3")
        yield* relay.tell(next(now, {}, {}, Array.from({ length: 150 }, (_, at) => event(at + 4))))
        yield* page.shows("#events li:first-child .text", "node 153")
        yield* page.until("document.querySelectorAll('#events li').length === 100")
      }))

    inBrowser("turns limits at 75 % and 90 %, not by colour alone", () =>
      Effect.gen(function*() {
        const limits = [7499, 7500, 8999, 9000, 9999, 10_000].map((used) => ({
          name: `limit${used}`,
          used,
          limit: 10_000,
          unit: "count" as const
        }))
        const now = idle()
        const { tell, url } = yield* FakeAdmin.start({ now: next(now, {}, { limits }) })
        const page = yield* Browser.open(url)
        yield* page.shows("#limits li:last-child .use", "7,499 of 10,000")
        const shown = page.evaluate(
          "[...document.querySelectorAll('#limits li')].map((row) => [row.className, row.querySelector('.warning').textContent, " +
            "row.querySelector('[role=meter]').getAttribute('aria-valuetext')])"
        )
        assert.deepStrictEqual(yield* shown, [
          ["full", "▲ full, 100 %", "10,000 of 10,000, full"],
          ["full", "▲ nearly full, 99 %", "9,999 of 10,000, nearly full"],
          ["full", "▲ nearly full, 90 %", "9,000 of 10,000, nearly full"],
          ["near", "▲ close, 89 %", "8,999 of 10,000, close"],
          ["near", "▲ close, 75 %", "7,500 of 10,000, close"],
          ["fine", "", "7,499 of 10,000"]
        ])
        const colours = yield* page.evaluate<ReadonlyArray<string>>(
          "[...document.querySelectorAll('#limits .bar div')].map((bar) => getComputedStyle(bar).backgroundColor)"
        )
        assert.strictEqual(new Set(colours).size, 3)
        const widths = "[...document.querySelectorAll('#limits .bar')].map((bar) => " +
          "Math.round(100 * bar.firstElementChild.getBoundingClientRect().width / bar.getBoundingClientRect().width))"
        yield* page.until(`String(${widths}) === "100,100,90,90,75,75"`)

        yield* tell(next(now, {}, {
          limits: [
            { name: "bandwidthTotal", used: 1_500_000, limit: 5_000_000, unit: "bytesPerSecond" },
            { name: "monthlyBytesHard", used: 1e9, limit: 2e12, unit: "bytes" },
            { name: "nothingAllowed", used: 0, limit: 0, unit: "count" }
          ]
        }))
        // what is less than a third used is folded away
        yield* page.shows("#more-limits-title", "3 limits, less than a third used")
        yield* page.until(
          "document.querySelectorAll('#limits li').length === 0 && !document.querySelector('details').open"
        )
        yield* page.shows("#limits-below", /1\.5 MB\/s of 5 MB\/s.*1 GB of 2 TB.*0 of 0/)
        yield* page.until("document.querySelectorAll('#limits-below .fine').length === 3")
      }))

    inBrowser("reads nothing that the relay says as HTML", () =>
      Effect.gen(function*() {
        const evil = "<img src=x onerror=alert(1)><script>alert(2)</script>&amp;\"'><svg onload=alert(3)>"
        const talkers = {
          byBytes: [{ name: evil, splices: 1, bytes: 1 }],
          bySplices: [{ name: evil, splices: 1, bytes: 1 }]
        }
        const event = { at: Date.now(), kind: evil as "node", text: evil }
        const { url } = yield* FakeAdmin.start({
          history: { samples: [], events: [event] },
          now: {
            sample: FakeAdmin.sample(),
            events: [],
            status: FakeAdmin.status({
              version: evil,
              state: evil as "listening",
              digest: evil,
              addresses: [evil],
              transport: evil as "kernel",
              limits: [{ name: evil, used: 1, limit: 1, unit: evil as "count" }],
              top: { nodes: talkers, sources: talkers }
            })
          }
        })
        const page = yield* Browser.open(url)
        for (
          const selector of [
            "#state",
            "#facts dd",
            "#names code",
            "#names div:nth-child(2) code",
            "#limits .name",
            "#sources th",
            "#events .kind",
            "#events .text"
          ]
        ) {
          yield* page.shows(selector, evil)
        }
        assert.strictEqual(yield* page.evaluate("document.querySelectorAll('img, main script, svg').length"), 0)
        // an action on what has such a name, and what is said of it
        yield* page.click("#sources button")
        yield* page.shows("#question-title", `Ban ${evil}?`)
        yield* page.click("#yes")
        yield* page.shows("#outcome-text", `Banned ${evil}: 3 connections ended.`)
        assert.strictEqual(yield* page.evaluate("document.querySelectorAll('img, main script, svg').length"), 0)
        assert.isTrue(yield* page.evaluate(isWithinItsWidth))
      }))

    inBrowser("is signed in by a link, once, and for its tab", () =>
      Effect.gen(function*() {
        const folder = yield* Effect.acquireRelease(
          Effect.sync(() => mkdtempSync(join(tmpdir(), "tx3-page-"))),
          (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
        )
        const socket = `unix:${join(folder, "relay.sock")}`
        const port = yield* freePort
        yield* startRelay(port, [socket])
        const owner = yield* AdminClient.make({ address: socket })
        const link = Effect.map(owner.page(), ({ addresses, code }) => `${addresses[0]}/#code=${code}`)

        const signedOut = yield* Browser.open(`http://127.0.0.1:${port}/`)
        yield* signedOut.until("!document.querySelector('#sign-in').hidden && document.querySelector('#main').hidden")
        yield* signedOut.shows("#connection", "Not signed in")
        yield* signedOut.shows("#sign-in code", "tx3-relay page")
        yield* signedOut.shows("#refused", "")
        assert.deepStrictEqual(yield* signedOut.audit, [])

        const used = yield* link
        const page = yield* Browser.open(used)
        yield* page.shows("#connection", "Live")
        yield* page.until("document.querySelector('#sign-in').hidden && !document.querySelector('#main').hidden")
        assert.strictEqual(yield* page.evaluate("location.href"), `http://127.0.0.1:${port}/`)
        // no other port of this machine sees it, and nothing is kept beyond the tab
        assert.strictEqual(yield* page.evaluate("localStorage.length + document.cookie.length"), 0)
        assert.deepStrictEqual(yield* page.evaluate("Object.keys(sessionStorage)"), ["session"])
        assert.notInclude(used, yield* page.evaluate<string>("sessionStorage.getItem('session')"))
        yield* Effect.promise(() => page.page.reload())
        yield* page.shows("#connection", "Live")

        // the same link again, in a tab that is not signed in; then a new one, which changes the fragment only
        yield* Effect.promise(() => signedOut.page.goto(used))
        yield* signedOut.shows("#refused", /^That link has been used, or is too old/)
        assert.strictEqual(yield* signedOut.evaluate("location.hash"), "")
        const fresh = yield* link
        yield* Effect.promise(() => signedOut.page.goto(fresh))
        yield* signedOut.shows("#connection", "Live")
        yield* signedOut.until("document.querySelector('#sign-in').hidden && !document.querySelector('#main').hidden")
        assert.strictEqual(yield* signedOut.evaluate("location.hash"), "")
        signedOut.complaints().forEach((complaint) => assert.match(complaint, /status of 401/))
      }))

    inBrowser("comes back when the relay does, and joins no two runs", () =>
      Effect.gen(function*() {
        const before = idle()
        const scope = yield* Scope.make()
        const first = yield* FakeAdmin.start({ now: before }).pipe(Scope.extend(scope))
        const page = yield* Browser.open(first.url, { expected: netErrors })
        yield* page.shows("#connection", "Live")
        const busy = next(before, { bytesFromPeersTotal: 9_000_000, splices: 5, rejectedTotal: 100 }, {}, [
          { at: before.sample.at, kind: "splice", text: "an event of the first run" }
        ])
        yield* first.tell(busy)
        yield* page.shows(output(0, 0), "9 MB/s")

        yield* Scope.close(scope, Exit.void)
        yield* page.shows("#connection", "No connection to the relay, trying again")
        yield* page.shows("#state", "was listening")
        yield* page.shows("#age", /^as of \d\d:\d\d:\d\d, \d s ago$/)
        yield* page.shows("title", "Not live · tx3 relay")
        assert.strictEqual(
          yield* page.evaluate("getComputedStyle(document.querySelector('.sections .card')).borderTopStyle"),
          "dashed"
        )
        assert.deepStrictEqual(yield* page.audit, [])
        // what was known is still there to read
        yield* page.shows(output(1, 0), "5")
        yield* page.screenshot("reconnecting-light")

        const at = busy.sample.at + 1500
        const after = {
          ...idle(),
          sample: FakeAdmin.sample({ at, splices: 1 }),
          status: FakeAdmin.status({ startedAt: at })
        }
        const second = yield* FakeAdmin.start({ now: after, port: first.port })
        yield* page.shows("#connection", "Live")
        yield* page.shows("#state", "listening")
        yield* page.shows(output(0, 0), "–")
        yield* second.tell(next(after, { bytesFromPeersTotal: 1000 }))
        yield* page.shows(output(0, 0), "1 kB/s")
        yield* page.until("document.querySelector('#age').hidden")
        yield* page.shows("#events", /restartThe relay started again.*an event of the first run/)

        const charts = yield* page.evaluate<Drawn>(drawn)
        assert.deepStrictEqual(charts[0]![1], [null, 9_000_000, null, null, 1000])
        assert.deepStrictEqual(charts[1]![1], [0, 5, null, 1, 1])
        assert.deepStrictEqual(charts[3]![1], [null, 100, null, null, 0])
      }))

    inBrowser("gives up a connection that fell silent", () =>
      Effect.gen(function*() {
        const now = idle()
        const relay = yield* FakeAdmin.start({ now })
        const page = yield* Browser.open(relay.url, { clock: true })
        yield* page.shows("#connection", "Live")
        yield* Effect.promise(() => page.page.clock.runFor(5000))
        yield* page.shows("#connection", "Live")
        yield* Effect.promise(() => page.page.clock.runFor(3000))
        yield* page.shows("#connection", "No connection to the relay, trying again")
        yield* Effect.promise(() => page.page.clock.runFor(1500))
        yield* page.shows("#connection", "Live")
      }))

    inBrowser("says that the relay drains", () =>
      Effect.gen(function*() {
        const now = idle()
        const relay = yield* FakeAdmin.start({ now })
        const page = yield* Browser.open(relay.url)
        yield* page.shows("#connection", "Live")
        yield* relay.tell(next(now, {}, { state: "draining" }))
        yield* page.shows("#connection", "Live, draining: no new connections")
        yield* page.shows("#state.draining", "draining")
        yield* page.shows("title", /^Draining/)
      }))

    inBrowser("is calm when nothing happens", () =>
      Effect.gen(function*() {
        const now = idle()
        const samples = Array.from({ length: 600 }, (_, second) =>
          FakeAdmin.sample({ at: now.sample.at - (600 - second) * 1000 }))
        const { url } = yield* FakeAdmin.start({
          history: { samples, events: [] },
          now: { ...now, status: { ...now.status, startedAt: samples[0]!.at } }
        })
        const page = yield* Browser.open(url)
        yield* page.shows(output(0, 0), "0 B/s")
        yield* page.shows(output(3, 0), "0/s")
        yield* page.shows("[data-empty=events]", "No events yet")
        yield* page.shows("[data-empty=nodes]", "No node is registered")
        yield* page.shows("[data-empty=splices]", "No splice is running")
        yield* page.shows("[data-empty=bans]", /^Nobody is banned here/)
        yield* page.shows("[data-empty=sources]", "No peer has come to a node yet")
        assert.deepStrictEqual(yield* page.audit, [])
        yield* page.until("document.querySelector('#events').hidden")
        // a line at zero: two thirds of the width
        for (const [chart, colour] of [[0, "b"], [2, "a"], [3, "c"]] as const) {
          assert.isAbove(yield* page.evaluate<number>(pixels(chart, colour)), 200, `chart ${chart}`)
        }
        yield* page.screenshot("idle-light")
      }))

    inBrowser("shows the members of a cluster, and hides it where there is none", () =>
      Effect.gen(function*() {
        const member = { link: { host: "10.0.0.2", port: 38143 }, state: "listening", version: "0.1.0" } as const
        const cluster: RelayStatus.Cluster = {
          name: "5Hc0d3XHpXw",
          link: { host: "10.0.0.1", port: 38143 },
          isConnected: true,
          members: [
            { ...member, name: "Qm1fZpVYxk4", roundTripMs: 0.62 },
            {
              ...member,
              name: "zqW0v8bJ1nE",
              link: { host: "fd00::3", port: 38143 },
              state: "draining",
              roundTripMs: null
            }
          ],
          forwarded: 1520,
          received: 1498,
          lookingUp: 1,
          lookUps: { found: 1520, unknown: 12, refused: 3, unavailable: 0, limited: 0 },
          lookUpSeconds: 1.535
        }
        const alone = FakeAdmin.busy.now
        const connections = { ...alone.status.connections, forwarded: 24 }
        const now = next(alone, {}, { cluster, connections })
        const relay = yield* FakeAdmin.start({ ...FakeAdmin.busy, now })
        const page = yield* Browser.open(relay.url)
        yield* page.shows("#members tr:nth-child(1)", "5Hc0d3XHpXwlistening0.1.010.0.0.1:38143this member")
        yield* page.shows("#members tr:nth-child(2)", "Qm1fZpVYxk4listening0.1.010.0.0.2:381430.6 ms")
        yield* page.shows("#members tr:nth-child(3)", "zqW0v8bJ1nEdraining0.1.0[fd00::3]:38143no answer")
        yield* page.shows(
          "#cluster-facts",
          "NATSconnectedForwarded24 now, 1,520 in allReceived1,498 from other membersLook-ups" +
            "found 1,520, unknown 12, refused 3; 1.0 ms on average"
        )
        yield* page.screenshot("cluster-light")
        yield* Effect.promise(() => page.page.setViewportSize({ width: 360, height: 740 }))
        yield* page.until("document.querySelector('canvas').clientWidth < 360")
        assert.isTrue(yield* page.evaluate(isWithinItsWidth))
        yield* page.screenshot("cluster-light-phone")
        const away = next(now, {}, { cluster: { ...cluster, isConnected: false, members: [] } })
        yield* relay.tell(away)
        yield* page.shows("[data-empty=members]", "Other members are unknown while NATS is away")
        yield* relay.tell(next(away, {}, { cluster: null }))
        yield* page.until("document.querySelector('#cluster').hidden")
      }))

    inBrowser("fits a phone", () =>
      Effect.gen(function*() {
        const { url } = yield* FakeAdmin.start({ ...FakeAdmin.busy, crowd: FakeAdmin.crowd(30, 30, ["192.0.2.0/24"]) })
        const page = yield* Browser.open(url, { colorScheme: "dark", viewport: { width: 360, height: 740 } })
        yield* page.shows("#connection", "Live")
        yield* page.until(
          "document.querySelectorAll('#nodes tr').length + document.querySelectorAll('#splices tr').length === 40"
        )
        assert.isTrue(yield* page.evaluate(isWithinItsWidth))
        const overflowing = yield* page.evaluate(
          "[...document.querySelectorAll('body *:not(.u-wrap *)')].filter((node) => " +
            "node.getBoundingClientRect().right > innerWidth).map((node) => node.outerHTML.slice(0, 99))"
        )
        assert.deepStrictEqual(overflowing, [])
        assert.deepStrictEqual(yield* page.audit, [])
        yield* page.screenshot("busy-dark-phone")
        // and is as wide as a window that is turned
        yield* Effect.promise(() => page.page.setViewportSize({ width: 740, height: 360 }))
        yield* page.until(
          "[...document.querySelectorAll('.plot')].every((plot) => plot.querySelector('canvas').clientWidth === plot.clientWidth)"
        )
        assert.isTrue(yield* page.evaluate(isWithinItsWidth))
      }))

    inBrowser("follows the colours of the system", () =>
      Effect.gen(function*() {
        const { url } = yield* FakeAdmin.start(FakeAdmin.busy)
        const page = yield* Browser.open(url, { colorScheme: "dark" })
        yield* page.shows("#connection", "Live")
        const ground = page.evaluate<string>("getComputedStyle(document.body).backgroundColor")
        const dark = yield* ground
        assert.isAbove(yield* page.evaluate<number>(pixels(0, "a")), 50)
        yield* page.screenshot("busy-dark")
        yield* Effect.promise(() => page.page.emulateMedia({ colorScheme: "light" }))
        yield* page.until(`${pixels(0, "a")} > 50`)
        assert.notStrictEqual(yield* ground, dark)
      }))

    inBrowser("is used by keyboard", () =>
      Effect.gen(function*() {
        const { url } = yield* FakeAdmin.start(FakeAdmin.busy)
        const page = yield* Browser.open(url)
        yield* page.shows("#connection", "Live")
        const focused =
          "(({ id, className, name, textContent }) => id || name || className || textContent)(document.activeElement)"
        const reached: Array<string> = []
        for (let i = 0; i < 18; i++) {
          yield* page.press("Tab")
          reached.push(yield* page.evaluate<string>(focused))
          assert.notStrictEqual(
            yield* page.evaluate(
              "getComputedStyle(document.activeElement.closest('.toggle') ?? document.activeElement).outlineStyle"
            ),
            "none"
          )
        }
        assert.deepStrictEqual(reached, [
          ...["copy", "copy", "copy", "log-level", "set-log-level", "drain", "plot", "plot", "plot", "plot"],
          ...["more-limits-title", "order", "Ban", "Ban", "Ban", "Ban", "events", "nodes-search"]
        ])

        yield* Effect.promise(() => page.page.locator("input[value=bySplices]").focus())
        yield* page.shows("#sources tr:first-child th", "198.51.100.7")
        yield* page.press("ArrowRight")
        yield* page.shows("#sources tr:first-child th", "192.0.2.77")

        const plots = page.page.locator(".plot")
        yield* Effect.promise(() => plots.nth(0).focus())
        yield* page.press("Home")
        const readOut = (chart: number) => `document.querySelectorAll('.plot')[${chart}].getAttribute('aria-valuetext')`
        yield* page.until(`/^\\d\\d:\\d\\d:\\d\\d; /.test(${readOut(0)})`)
        const earliest = FakeAdmin.busy.history.samples.slice(0, 10).map(({ splices }) => String(splices))
        assert.include(earliest, yield* Effect.promise(() => page.page.locator(output(1, 0)).textContent()))
        const valueNow = Number(yield* Effect.promise(() => plots.nth(0).getAttribute("aria-valuenow")))
        assert.isAtMost(Math.abs(valueNow + 900), 5)
        // the others go along; both are asked at once, for the window moves on every second
        assert.isTrue(yield* page.evaluate<boolean>(`${readOut(1)}.slice(0, 8) === ${readOut(0)}.slice(0, 8)`))
        yield* page.press("PageUp", "ArrowRight")
        yield* page.until(
          `Math.abs(Number(document.querySelector('.plot').getAttribute('aria-valuenow')) - ${valueNow} - 65) <= 6`
        )
        yield* page.press("Escape")
        yield* page.until(`${readOut(0)}.startsWith("Now; ") && ${readOut(1)}.startsWith("Now; ")`)
        yield* page.shows(output(1, 0), String(FakeAdmin.busy.now.sample.splices))
      }))

    inBrowser("has ten thousand nodes, some at a time, and finds each of them", () =>
      Effect.gen(function*() {
        const crowd = FakeAdmin.crowd(10_000, 5_000)
        const { url } = yield* FakeAdmin.start({ ...FakeAdmin.busy, crowd })
        const page = yield* Browser.open(url)
        yield* page.shows("#nodes-found", "1 to 20 of 10,000")
        yield* page.shows("#splices-found", "1 to 20 of 5,000")
        yield* page.until(
          "document.querySelector('#nodes-before').disabled && document.querySelectorAll('#nodes tr').length === 20"
        )
        assert.deepStrictEqual(yield* page.audit, [])
        const first = yield* page.evaluate<string>("document.querySelector('#nodes code').title")
        yield* page.click("#nodes-after")
        yield* page.shows("#nodes-found", "21 to 40 of 10,000")
        assert.notStrictEqual(yield* page.evaluate<string>("document.querySelector('#nodes code').title"), first)
        // what is searched for begins with its first row
        const { node, source } = crowd.nodes[7_777]!
        yield* Effect.promise(() => page.page.locator("#nodes-search").fill(node.slice(4, 14).toUpperCase()))
        yield* page.shows("#nodes-found", "1 found among 10,000")
        yield* page.until(`document.querySelector('#nodes code').title === "${node}"`)
        yield* page.shows("#nodes .source", source)
        yield* Effect.promise(() => page.page.locator("#nodes-search").fill("nothing of the kind"))
        yield* page.shows("[data-empty=nodes]", "None of 10,000 matches")
        yield* Effect.promise(() => page.page.locator("#nodes-search").fill(""))
        yield* Effect.promise(() => page.page.locator("#nodes-sort").selectOption("newest"))
        yield* page.until(`document.querySelector('#nodes code').title === "${crowd.nodes[0]!.node}"`)
      }))

    inBrowser(
      "does what an operator asks for after one question, by keyboard too, and says what came of it",
      () =>
        Effect.gen(function*() {
          const banned = FakeAdmin.digestOf("banned")
          const { acts, url } = yield* FakeAdmin.start({
            ...FakeAdmin.busy,
            crowd: FakeAdmin.crowd(3, 4, [banned])
          })
          const page = yield* Browser.open(url, { permissions: ["clipboard-read", "clipboard-write"] })
          const { click } = page
          yield* page.shows("#nodes-found", "3")
          const node = yield* page.evaluate<string>("document.querySelector('#nodes code').title")

          assert.match(yield* page.copy("#nodes .copy"), new RegExp(`^tx3-rst://.*/${node}$`))
          assert.deepStrictEqual(yield* page.audit, [])

          // no answer, by a key or by the button, does nothing
          yield* click("#drain")
          yield* page.shows("#question-title", "Drain the relay and stop it?")
          assert.deepStrictEqual(yield* page.audit, [])
          yield* page.press("Escape")
          yield* page.until("!document.querySelector('#question').open && document.activeElement.id === 'drain'")
          yield* page.press("Enter", "Enter")
          yield* page.until("!document.querySelector('#question').open")
          assert.deepStrictEqual(acts, [])

          yield* click("#nodes .acts button")
          yield* page.press("Tab", "Enter")
          yield* page.shows("#outcome-text", `Node ${node.slice(0, 8)} was kicked: 3 connections ended.`)
          assert.deepStrictEqual(yield* page.audit, [])
          yield* click("#nodes .acts button:nth-child(2)")
          yield* click("#yes")
          yield* page.shows("#outcome-text", `Banned node ${node.slice(0, 8)}: 3 connections ended.`)
          yield* click("#splices .acts button")
          yield* click("#yes")
          yield* page.shows("#outcome-text", /^The splice of 203\.0\.0\.\d with node .{8} was ended\.$/)
          yield* click("#bans .acts button")
          yield* click("#yes")
          yield* page.shows("#outcome-text", `The ban of node ${banned.slice(0, 8)} is lifted.`)
          yield* Effect.promise(() => page.page.locator("#log-level").selectOption("debug"))
          yield* click("#set-log-level")
          yield* page.shows("#question-text", /addresses of peers/)
          yield* click("#yes")
          yield* page.shows("#outcome-text", "The log level is debug now.")
          yield* click("#drain")
          yield* click("#yes")
          yield* page.shows("#outcome-text", "The relay drains: it stops when 2 splices have ended.")
          yield* click("#outcome-close")
          yield* page.shows("#outcome-text", "")
          assert.match(acts[2]!, /^\/kick\/splice \{"connection":\d+\}$/)
          assert.deepStrictEqual(acts.toSpliced(2, 1), [
            `/kick/node {"node":"${node}"}`,
            `/ban {"who":"${node}"}`,
            `/unban {"who":"${banned}"}`,
            "/log-level {\"level\":\"debug\"}",
            "/drain {}"
          ])
        })
    )

    inBrowser("says why something was not done", () =>
      Effect.gen(function*() {
        const message = "no node that is registered or has splices starts with it"
        const { url } = yield* FakeAdmin.start({
          ...FakeAdmin.busy,
          crowd: FakeAdmin.crowd(1, 0),
          refusal: { status: 404, message }
        })
        const page = yield* Browser.open(url, { expected: /status of 404/ })
        yield* page.click("#nodes .acts button")
        yield* page.click("#yes")
        yield* page.shows("#outcome-text", new RegExp(`^Kick node .{8}\\? That failed: ${message}\\.$`))
      }))

    inBrowser("follows a real relay under load and over a restart", () =>
      Effect.gen(function*() {
        const port = yield* freePort
        const first = yield* Scope.make()
        const before = yield* startRelay(port).pipe(Scope.extend(first))
        const page = yield* Browser.open(`http://127.0.0.1:${port}/`, { expected: netErrors })
        yield* page.shows("#connection", "Live")
        yield* page.shows("#names code", before.digest)
        yield* page.shows("[data-empty=events]", "No events yet")

        yield* putLoadOn(before).pipe(Scope.extend(first))
        yield* page.shows(output(2, 0), "1")
        yield* page.shows(output(1, 0), "3")
        yield* page.shows("#charts figure:nth-child(1) .total", /^6 MB from peers and 3 MB from nodes/)
        yield* page.shows("#nodes td:nth-child(4)", "3")
        yield* page.shows("#nodes td:nth-child(6) span", "3 of 64")
        yield* page.shows("#splices-found", "3")
        yield* page.shows("#sources th", "127.0.0.1")
        yield* page.shows("#events", /node registered|registered from 127\.0\.0\.1/)
        yield* page.shows("#events", /rejection127\.0\.0\.1: a client asked for a node that is not registered here/)
        yield* page.until(`${drawn}.then(([throughput]) => Math.max(...throughput[1]) > 1_000_000)`)
        yield* page.screenshot("relay-light")
        yield* page.click("#splices .acts button")
        yield* page.click("#yes")
        yield* page.shows("#splices-found", "2")
        yield* page.shows("#events", /operatorkick splice \d+/)

        yield* Scope.close(first, Exit.void)
        yield* page.shows("#connection", "No connection to the relay, trying again")
        const after = yield* startRelay(port)
        yield* page.shows("#connection", "Live")
        yield* page.shows("#names code", after.digest)
        yield* page.shows(output(1, 0), "0")
        yield* page.shows(output(0, 0), "0 B/s")
        yield* page.shows("#events", /restartThe relay started again/)
        yield* putLoadOn(after)
        yield* page.shows(output(1, 0), "3")
        const charts = yield* page.evaluate<Drawn>(drawn)
        for (const value of charts.flatMap(([, ...columns]) => columns.flat())) {
          assert.isTrue(value === null || value >= 0)
        }
        yield* page.screenshot("relay-light-restarted")
        yield* Effect.promise(() => page.page.emulateMedia({ colorScheme: "dark" }))
        yield* page.until(`${pixels(2, "a")} > 10`)
        yield* page.screenshot("relay-dark-restarted")
        yield* Effect.promise(() => page.page.setViewportSize({ width: 360, height: 740 }))
        yield* page.until("document.querySelector('canvas').clientWidth < 360")
        assert.isTrue(yield* page.evaluate(isWithinItsWidth))
        yield* page.screenshot("relay-dark-phone-restarted")
      }))
  })
})

const freePort = Effect.async<number>((resume) => {
  const server = createServer().listen(0, "127.0.0.1", () => {
    const { port } = server.address() as AddressInfo
    server.close(() => resume(Effect.succeed(port)))
  })
})

const startRelay = (port: number, more: ReadonlyArray<string> = []) =>
  Effect.gen(function*() {
    const settings = yield* Schema.decodeUnknown(OperatorConfig.Settings)({
      bind: ["tx3-rst://127.0.0.1:0"],
      admin: [...more, `http://127.0.0.1:${port}`],
      drainTimeoutMs: 100,
      maxShareOfNode: 1
    })
    const loaded = Effect.map(Identity.generate, (identity) => ({ identity, settings }))
    const context = yield* OperatedRelay.layer(loaded).pipe(
      Layer.provide([NodeFileSystem.layer, Logger.remove(Logger.defaultLogger)]),
      Layer.build
    )
    return Context.get(context, Relay.Relay)
  })

/** A node with three splices that carried 2 MB up and 1 MB down each, and somebody who is turned away. */
const putLoadOn = (relay: Relay.Relay["Type"]) =>
  Effect.gen(function*() {
    const address = relay.addresses[0]!
    const node = yield* RelayTest.register(address)
    for (let i = 0; i < 3; i++) {
      const { node: end, peer } = yield* RelayTest.splice(node)
      yield* Effect.all([peer.send(Buffer.alloc(2_000_000)), end.receive(2_000_000)], { concurrency: 2 })
      yield* Effect.all([end.send(Buffer.alloc(1_000_000)), peer.receive(1_000_000)], { concurrency: 2 })
    }
    const stranger = yield* RelayTest.sendPreamble(address, Buffer.alloc(32, 7))
    yield* stranger.closed
  })
