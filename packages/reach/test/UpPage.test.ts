import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { IdentityFile } from "@tx3/files"
import { Duplex as duplex, type Tx3Connection, Tx3Node } from "@tx3/node"
import { Identity } from "@tx3/protocol"
import { Up, UpFile, UpLog, UpPage, UpStatus } from "@tx3/reach"
import * as programs from "@tx3/testing/builtPrograms"
import { localServer, portOf } from "@tx3/testing/localServer"
import { sharedLayer } from "@tx3/testing/sharedLayer"
import { withPrograms } from "@tx3/testing/withPrograms"
import { Effect, Exit, Logger, Option, Scope, TestClock } from "effect"
import { chmodSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import * as http from "node:http"
import { join } from "node:path"
import { withRelay } from "../../node/test/utils/relays.js"
import * as Browser from "../../operate/test/utils/browser.js"

const reporter: Up.Reporter = { tell: () => Effect.void, onNode: () => Effect.void, onEvent: () => Effect.void }

interface Answer {
  readonly status: number
  readonly type: string
  readonly body: string
}

/** Asks as any program can: the Host is what it likes. */
const ask = (
  url: string,
  path: string,
  { body, headers = {} }: { readonly body?: unknown; readonly headers?: http.OutgoingHttpHeaders } = {}
) =>
  Effect.async<Answer, Error>((resume) => {
    const request = http.request(new URL(path, url), {
      method: body === undefined ? "GET" : "POST",
      agent: false,
      headers: { ...body === undefined ? {} : { "content-type": "application/json" }, ...headers }
    }, (response) => {
      const chunks: Array<Buffer> = []
      response.on("data", (chunk) => chunks.push(chunk)).on("end", () =>
        resume(Effect.succeed({
          status: response.statusCode!,
          type: response.headers["content-type"] ?? "",
          body: Buffer.concat(chunks).toString()
        })))
    })
    request.on("error", (error) => resume(Effect.fail(error)))
    request.end(body === undefined ? undefined : JSON.stringify(body))
  })

const codeOf = (link: string) => new URL(link).hash.slice("#code=".length)

const sessionOf = (link: string) =>
  Effect.map(
    ask(link, "/session", { body: { code: codeOf(link) } }),
    ({ body }) => ({ authorization: `Bearer ${JSON.parse(body).session}` })
  )

/** What `tx3 up` runs: the file's text, in which ECHO is a service, and those who may know of it. */
const running = (
  text: (digests: { readonly laptop: string; readonly phone: string }) => string,
  listed: string | undefined = undefined
) =>
  Effect.gen(function*() {
    const folder = yield* programs.temporaryFolder
    const file = join(folder, "tx3.yml")
    const [laptop, phone] = [yield* Identity.generate, yield* Identity.generate]
    for (const name of ["a.pem", "b.pem"]) {
      yield* IdentityFile.create(join(folder, name))
    }
    writeFileSync(join(folder, "known"), `${laptop.digest} laptop\n`)
    if (listed !== undefined) {
      writeFileSync(join(folder, "friends"), listed)
    }
    const echo = portOf(yield* localServer((socket) => void socket.on("error", () => {}).pipe(socket)))
    const whole = text({ laptop: laptop.digest, phone: phone.digest }).replaceAll("ECHO", `127.0.0.1:${echo}`)
    writeFileSync(file, `known: known\nrelays: ["tx3-st://127.0.0.1:0"]\n${whole}`)
    const log = UpLog.make()
    const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
    const { places } = yield* Effect.flatMap(
      UpFile.read(file),
      (up) => Up.start(up, { version: "0.1.0", log, reporterOf: () => reporter })
    ).pipe(Scope.extend(scope))
    const { status } = yield* UpFile.read(file)
    const link = Effect.map(UpStatus.page(status), ({ link }) => link)
    const connect = (identity: Identity.Identity, name: string) =>
      Effect.flatMap(
        Tx3Node.make({ identity }),
        (node) => node.connect(places.find((place) => place.name === name)!.at)
      )
    const read = () =>
      readFileSync(file, "utf8").replace(/^known.*\nrelays.*\n/, "").replaceAll(`127.0.0.1:${echo}`, "ECHO")
    return { close: Scope.close(scope, Exit.void), connect, file, folder, laptop, link, log, phone, read }
  })

/** A session of a running one, and how to act with it. */
const signedIn = (link: Effect.Effect<string, unknown>) =>
  Effect.gen(function*() {
    const url = yield* link
    const headers = yield* sessionOf(url)
    const get = (path: string) => Effect.map(ask(url, path, { headers }), ({ body }) => JSON.parse(body))
    const act = (path: "/allow" | "/deny", service: string, who: string) =>
      Effect.map(ask(url, path, { headers, body: { service, who } }), ({ body, status }) => ({
        status,
        ...JSON.parse(body) as { readonly message?: string; readonly kept?: ReadonlyArray<string> }
      }))
    const allowed = (service: string) =>
      Effect.map(get("/status"), ({ services }: UpPage.Status) =>
        services.find(({ name }) =>
          name === service
        )!.allowed?.map(({ name, peer }) => name ?? peer) ?? null)
    return { act, allowed, get }
  })

const answers = (connection: Tx3Connection.Tx3Connection) =>
  Effect.gen(function*() {
    yield* connection.write(Buffer.from("x"))
    assert.strictEqual((yield* duplex.read(connection.duplex, 1)).length, 1)
  })

const quiet = Effect.provide([NodeContext.layer, Logger.remove(Logger.defaultLogger)])

describe("UpPage", () => {
  it.scoped("a code signs in once, and within a minute", () =>
    Effect.gen(function*() {
      const never = () => Effect.dieMessage("no one asks for this")
      const { link: makeLink } = yield* UpPage.make({ status: never(), log: UpLog.make(), allow: never, deny: never })
      const exchanged = (link: string) => ask(link, "/session", { body: { code: codeOf(link) } })
      const { expiresInSeconds, link } = yield* makeLink
      assert.strictEqual(expiresInSeconds, 60)
      assert.match(link, /^http:\/\/127\.0\.0\.1:\d+\/#code=[\w-]{43}$/)
      const first = yield* exchanged(link)
      assert.strictEqual(first.status, 200)
      const again = yield* exchanged(link)
      assert.deepStrictEqual(
        [again.status, JSON.parse(again.body).message],
        [401, "that link has been used, or is too old; run tx3 page"]
      )
      const [early, late] = [yield* makeLink, yield* makeLink]
      yield* TestClock.adjust("59 seconds")
      assert.strictEqual((yield* exchanged(early.link)).status, 200)
      yield* TestClock.adjust("1 seconds")
      assert.strictEqual((yield* exchanged(late.link)).status, 401)
      // The session lasts for a day.
      const headers = { authorization: `Bearer ${JSON.parse(first.body).session}` }
      assert.strictEqual((yield* ask(link, "/log?after=0", { headers })).status, 200)
      yield* TestClock.adjust("1 day")
      assert.strictEqual((yield* ask(link, "/log?after=0", { headers })).status, 401)
    }))

  it.scopedLive("listens from the first question on, at one port, until tx3 up ends", () =>
    Effect.gen(function*() {
      const { close, link, log } = yield* running(() => "expose: { a: { service: ECHO, identity: a.pem } }\n")
      const [first, second] = yield* Effect.all([link, link], { concurrency: 2 })
      assert.strictEqual(new URL(first!).port, new URL(second!).port)
      assert.notStrictEqual(codeOf(first!), codeOf(second!))
      const { get } = yield* signedIn(link)
      yield* log.add("a: something happened")
      assert.deepInclude(yield* get("/log?after=0"), {
        number: 1,
        at: (yield* get("/log?after=0"))[0].at,
        text: "a: something happened"
      })
      assert.deepStrictEqual(yield* get("/log?after=1"), [])
      const status = (yield* get("/status")) as UpPage.Status
      assert.isAtMost(Math.abs(status.at - Date.now()), 60_000)
      assert.deepStrictEqual(status.services.map(({ allowed, name }) => [name, allowed]), [["a", null]])
      yield* close
      assert.include((yield* Effect.flip(ask(first!, "/"))).message, "ECONNREFUSED")
    }).pipe(quiet))

  it.scopedLive("answers no other name, no other site, and without a session nothing but its files", () =>
    Effect.gen(function*() {
      const { link } = yield* running(() => "expose: { a: { service: ECHO, identity: a.pem } }\n")
      const url = yield* link
      const { host, port } = new URL(url)
      const types: Record<string, string> = { css: "text/css", js: "text/javascript" }
      for (const path of UpPage.paths) {
        const { body, status, type } = yield* ask(url, path)
        assert.deepStrictEqual(
          [status, type],
          [200, `${types[path.split(".").at(-1)!] ?? "text/html"}; charset=utf-8`],
          path
        )
        assert.isAbove(body.length, 100)
      }
      const served = ["../page/", "../../local-http/page/"].flatMap((folder) =>
        readdirSync(new URL(folder, import.meta.url))
      )
        .map((name) => name === "index.html" ? "/" : `/${name}`)
      assert.sameMembers([...served, "/uqr.js"], Array.from(UpPage.paths))

      const statusOf = (path: string, headers: http.OutgoingHttpHeaders, body?: unknown) =>
        Effect.map(ask(url, path, { headers, ...body === undefined ? {} : { body } }), ({ status }) => status)
      const who = { service: "a", who: "x" }
      for (
        const [path, body] of [["/status"], ["/log?after=0"], ["/allow", who], ["/deny", who], ["/page", {}], [
          "/x"
        ]] as const
      ) {
        assert.strictEqual(yield* statusOf(path, {}, body), 401, path)
        assert.strictEqual(yield* statusOf(path, { authorization: "Bearer x" }, body), 401, path)
      }
      const headers = yield* sessionOf(url)
      assert.strictEqual(yield* statusOf("/status", headers), 200)
      for (const name of [host, `localhost:${port}`, "[::1]"]) {
        assert.strictEqual(yield* statusOf("/status", { ...headers, host: name }), 200, name)
      }
      for (const path of ["/", "/status"]) {
        assert.strictEqual(yield* statusOf(path, { ...headers, host: `attacker.example:${port}` }), 403)
      }
      assert.strictEqual(yield* statusOf("/session", { host: "attacker.example" }, { code: "x" }), 403)
      assert.strictEqual(yield* statusOf("/allow", { ...headers, origin: "http://attacker.example" }, who), 403)
      assert.strictEqual(yield* statusOf("/allow", { ...headers, origin: `http://${host}` }, who), 409)
    }).pipe(quiet))

  it.scopedLive("allows and denies in the file, which keeps all else, and the peer loses its connections", () =>
    Effect.gen(function*() {
      const { connect, file, laptop, link, phone, read } = yield* running(({ phone }) =>
        `# mine
expose:
  a:  # echo
    service: ECHO
    identity: a.pem
    allow:
      # at home
      - ${phone}   # phone
`
      )
      chmodSync(file, 0o640)
      const { act, allowed } = yield* signedIn(link)
      const text = read()
      assert.deepStrictEqual(yield* allowed("a"), [phone.digest])
      assert.deepStrictEqual((yield* act("/allow", "a", "laptop")).kept, ["expose.a"])
      assert.strictEqual(read(), `${text}      - laptop\n`)
      assert.strictEqual(statSync(file).mode & 0o777, 0o640)
      assert.deepStrictEqual(yield* allowed("a"), [phone.digest, "laptop"])

      const [laptops, phones] = [yield* connect(laptop, "a"), yield* connect(phone, "a")]
      yield* answers(laptops)
      yield* answers(phones)
      // By its digest, though its name stands there.
      assert.deepStrictEqual((yield* act("/deny", "a", laptop.digest)).kept, ["expose.a"])
      assert.strictEqual(read(), text)
      assert.isTrue(Option.isSome(yield* Effect.flip(duplex.read(laptops.duplex, 1))))
      yield* answers(phones)
      assert.deepStrictEqual((yield* act("/deny", "a", phone.digest)).kept, ["expose.a"])
      assert.strictEqual(
        read(),
        "# mine\nexpose:\n  a:  # echo\n    service: ECHO\n    identity: a.pem\n    allow: []\n      # at home\n"
      )
      assert.deepStrictEqual(yield* allowed("a"), [])
      assert.isTrue(Option.isSome(yield* Effect.flip(duplex.read(phones.duplex, 1))))
    }).pipe(quiet))

  it.scopedLive("allows in allowFile where there is one, and denies wherever the peer stands", () =>
    Effect.gen(function*() {
      const { folder, laptop, link, phone, read } = yield* running(
        ({ laptop }) => `expose: { a: { service: ECHO, identity: a.pem, allow: [${laptop}], allowFile: friends } }\n`,
        "# friends\nlaptop # of work"
      )
      const { act, allowed } = yield* signedIn(link)
      const list = () => readFileSync(join(folder, "friends"), "utf8")
      const text = read()
      assert.strictEqual((yield* act("/allow", "a", phone.digest)).status, 200)
      assert.strictEqual(list(), `# friends\nlaptop # of work\n${phone.digest}\n`)
      assert.strictEqual(read(), text)
      assert.sameMembers((yield* allowed("a"))!, ["laptop", phone.digest])
      assert.strictEqual((yield* act("/deny", "a", laptop.digest)).status, 200)
      assert.strictEqual(list(), `# friends\n${phone.digest}\n`)
      assert.strictEqual(read(), text.replace(`[${laptop.digest}]`, "[]"))
      assert.deepStrictEqual(yield* allowed("a"), [phone.digest])
      assert.strictEqual((yield* act("/deny", "a", phone.digest)).status, 200)
      assert.strictEqual(list(), "# friends\n")
      assert.deepStrictEqual(yield* allowed("a"), [])
      assert.sameMembers(readdirSync(folder), ["a.pem", "b.pem", "friends", "known", "tx3.sock", "tx3.yml"])
    }).pipe(quiet))

  it.scopedLive("closes a service that was open to everyone to all but the first", () =>
    Effect.gen(function*() {
      const { connect, laptop, link, phone, read } = yield* running(() =>
        "expose:\n  a:\n    service: ECHO # echo\n    identity: a.pem\n"
      )
      const { act, allowed } = yield* signedIn(link)
      const [laptops, phones] = [yield* connect(laptop, "a"), yield* connect(phone, "a")]
      yield* answers(laptops)
      yield* answers(phones)
      assert.deepInclude(yield* act("/deny", "a", "laptop"), {
        status: 409,
        message: "a is open to everyone who knows its address; allow the peers that may connect, and no other can"
      })
      assert.strictEqual((yield* act("/allow", "a", "laptop")).status, 200)
      assert.strictEqual(
        read(),
        "expose:\n  a:\n    service: ECHO # echo\n    allow: [laptop]\n    identity: a.pem\n"
      )
      assert.deepStrictEqual(yield* allowed("a"), ["laptop"])
      assert.isTrue(Option.isSome(yield* Effect.flip(duplex.read(phones.duplex, 1))))
      yield* answers(laptops)
    }).pipe(quiet))

  it.scopedLive("puts the file back where it cannot be loaded, and says why nothing has changed", () =>
    Effect.gen(function*() {
      const { file, folder, link, phone, read } = yield* running(
        () =>
          "expose:\n  a: { service: ECHO, identity: a.pem, allow: [laptop] }\n" +
          "  b: { service: ECHO, identity: b.pem, allowFile: friends }\n",
        "laptop\n"
      )
      const { act, allowed } = yield* signedIn(link)
      const refused = (path: "/allow" | "/deny", service: string, who: string, message: string) =>
        Effect.map(
          act(path, service, who),
          (answer) => assert.deepEqual(answer, { _tag: "NotChanged", status: 409, message } as never)
        )
      yield* refused("/allow", "c", "laptop", `${file} exposes no "c"`)
      yield* refused(
        "/allow",
        "a",
        "tablet",
        `"tablet" is no digest, the 43 characters at the end of an address, and no name in ${join(folder, "known")}`
      )
      yield* refused("/allow", "a", "laptop", "laptop may connect to a already")
      yield* refused("/allow", "b", "laptop", "laptop may connect to b already")
      const before = read()
      assert.deepStrictEqual((yield* act("/deny", "a", phone.digest)).kept, ["expose.a", "expose.b"])
      assert.strictEqual(read(), before)

      // What its user has written meanwhile and not loaded yet cannot be started.
      const taken = portOf(yield* localServer((socket) => void socket.destroy()))
      const to = `tx3-st://127.0.0.1:1/${phone.digest}`
      writeFileSync(
        file,
        `${readFileSync(file, "utf8")}forward: { f: { to: ["${to}"], listen: "127.0.0.1:${taken}" } }\n`
      )
      const text = read()
      for (const [path, service, who] of [["/allow", "a", phone.digest], ["/deny", "b", "laptop"]] as const) {
        const { message, status } = yield* act(path, service, who)
        assert.strictEqual(status, 409)
        assert.include(message, `${file}: forward.f: cannot listen at 127.0.0.1:${taken}`)
        assert.strictEqual(read(), text)
        assert.strictEqual(readFileSync(join(folder, "friends"), "utf8"), "laptop\n")
        assert.deepStrictEqual(yield* allowed(service), ["laptop"])
      }
      writeFileSync(file, "{")
      assert.include((yield* act("/allow", "a", phone.digest)).message, "tx3.yml: not YAML: ")
      assert.sameMembers(readdirSync(folder), ["a.pem", "b.pem", "friends", "known", "tx3.sock", "tx3.yml"])
    }).pipe(quiet))
})

withPrograms(["chromium-headless-shell"], () => {
  describe("the page of tx3 up", () => {
    const inBrowser = sharedLayer(Browser.layer)
    const isWithinItsWidth = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"

    /** Two services that are exposed, with a peer at one of them, and one that is forwarded. */
    const busy = Effect.gen(function*() {
      const up = yield* running(({ phone }) =>
        `expose:
  web:
    service: ECHO
    identity: a.pem
    allow: [laptop, ${phone}]
  open: { service: ECHO, identity: b.pem }
forward:
  work: { to: ["tx3-rst://relay.example.org:38141/${phone}"], listen: "127.0.0.1:0" }
`
      )
      const connection = yield* up.connect(up.laptop, "web")
      yield* answers(connection)
      yield* up.log.add(`web: connected with laptop (${up.laptop.digest.slice(0, 8)})`)
      yield* up.log.add("web: <img src=x onerror=alert(1)>")
      return { ...up, connection }
    })

    inBrowser(
      "is signed in by a link, shows all there is, and says when tx3 up has ended",
      () =>
        Effect.gen(function*() {
          const up = yield* busy
          const link = yield* up.link
          const signedOut = yield* Browser.open(new URL("/", link).href, { expected: /status of 401/ })
          yield* signedOut.shows("#connection", "Not signed in")
          yield* signedOut.until("!document.querySelector('#sign-in').hidden && document.querySelector('#main').hidden")
          assert.deepStrictEqual(yield* signedOut.audit, [])

          const page = yield* Browser.open(link, {
            expected: /^Failed to load resource: net::ERR_/,
            permissions: ["clipboard-read", "clipboard-write"]
          })
          yield* page.shows("#connection", "Live")
          assert.strictEqual(yield* page.evaluate("location.href"), new URL("/", link).href)
          assert.strictEqual(yield* page.evaluate("localStorage.length + document.cookie.length"), 0)
          yield* page.shows("#facts", /Version0\.1\.0.*Filetx3\.yml/)
          yield* page.shows("#services li h3", "web")
          yield* page.shows("#services .counts", "1 connection now, 1 since the start, 0 refused or failed")
          yield* page.shows("#services .states", "Reachable at its own address, without a relay")
          yield* page.shows("#services li:nth-child(3)", /^workforwards 127\.0\.0\.1:\d+.*Leads totx3-rst:/)
          yield* page.shows("#connections tr", /^laptopweb127\.0\.0\.1:\d+\d+ s1 B1 BDeny$/)
          yield* page.shows("#access li:nth-child(1) tbody", `laptoptx3.ymlRemove${up.phone.digest}tx3.ymlRemove`)
          yield* page.shows("#access li:nth-child(2) .who", /^▲ Everyone who knows the address/)
          yield* page.shows("#messages li:first-child .text", "web: <img src=x onerror=alert(1)>")
          yield* page.until(
            "document.querySelectorAll('#messages li').length === 2 && document.querySelector('img') === null"
          )
          yield* page.shows("title", "1 connection · tx3 up")
          assert.deepStrictEqual(yield* page.audit, [])
          yield* page.screenshot("up-light")

          // It follows what happens.
          yield* up.connection.write(Buffer.alloc(9_999))
          yield* page.shows("#connections td:nth-child(5)", "10 kB")
          yield* up.log.add("web: and more")
          yield* page.shows("#messages li:first-child .text", "web: and more")

          const address = yield* page.evaluate<string>("document.querySelector('#services code').textContent")
          assert.strictEqual(yield* page.copy("#services .copy"), address)
          assert.deepStrictEqual(yield* page.audit, [])
          yield* page.click("#services button:nth-of-type(2)")
          yield* page.shows("#qr-address", address)
          yield* page.shows("#qr-title", "Address of web")
          yield* page.until("document.querySelector('#qr path').getAttribute('d').length > 1000")
          assert.deepStrictEqual(yield* page.audit, [])
          yield* page.screenshot("up-light-qr")
          yield* page.press("Escape")
          yield* page.until("!document.querySelector('#qr').open && document.activeElement.textContent === 'QR code'")

          yield* Effect.promise(() => page.page.emulateMedia({ colorScheme: "dark" }))
          assert.deepStrictEqual(yield* page.audit, [])
          yield* page.screenshot("up-dark")
          yield* Effect.promise(() => page.page.setViewportSize({ width: 360, height: 740 }))
          assert.isTrue(yield* page.evaluate(isWithinItsWidth))
          assert.deepStrictEqual(yield* page.audit, [])
          yield* page.screenshot("up-dark-phone")

          yield* up.close
          yield* page.shows("#connection", "No connection to tx3 up, trying again")
          yield* page.shows(
            "#age",
            /^as of \d\d:\d\d:\d\d, \d+ s ago\. When it has started again, tx3 page prints a new link$/
          )
          yield* page.shows("title", "Not live · tx3 up")
          yield* page.shows("#services li h3", "web")
          assert.deepStrictEqual(yield* page.audit, [])
          yield* page.screenshot("up-dark-phone-ended")
        }).pipe(quiet)
    )

    inBrowser(
      "allows and denies after one question, by keyboard too, and says what came of it",
      () =>
        Effect.gen(function*() {
          const up = yield* busy
          const page = yield* Browser.open(yield* up.link, { expected: /status of 409/ })
          yield* page.shows("#connections th", "laptop")
          const text = up.read()

          // No answer, by a key or by the button, does nothing.
          yield* page.click("#connections button")
          yield* page.shows("#question-title", "Deny laptop at web?")
          yield* page.shows("#question-text", /^It is taken off the list in tx3\.yml, its connections to web end/)
          assert.deepStrictEqual(yield* page.audit, [])
          yield* page.press("Escape")
          yield* page.until(
            "!document.querySelector('#question').open && document.activeElement.textContent === 'Deny'"
          )
          yield* page.press("Enter", "Enter")
          yield* page.until("!document.querySelector('#question').open")
          assert.strictEqual(up.read(), text)

          yield* page.press("Enter", "Tab", "Enter")
          yield* page.shows("#outcome-text", "laptop may not connect to web any longer.")
          assert.isTrue(Option.isSome(yield* Effect.flip(duplex.read(up.connection.duplex, 1))))
          yield* page.shows("[data-empty=connections]", "No connection is open")
          yield* page.shows("#access li:nth-child(1) tbody", `${up.phone.digest}tx3.ymlRemove`)
          assert.deepStrictEqual(yield* page.audit, [])
          yield* page.click("#access li:nth-child(1) tbody button")
          yield* page.shows("#question-title", `Deny ${up.phone.digest.slice(0, 8)} at web?`)
          yield* page.click("#yes")
          yield* page.shows("#access li:nth-child(1) .who", "No one")
          assert.include(up.read(), "allow: []\n")

          const typed = (service: string, who: string) =>
            Effect.promise(async () => {
              await page.page.locator(`#allow-${service}`).fill(who)
              await page.page.locator(`#allow-${service}`).press("Enter")
            })
          yield* typed("web", "tablet")
          yield* page.shows("#question-text", "It may connect to web from then on. It is added to the list in tx3.yml.")
          yield* page.click("#yes")
          yield* page.shows("#outcome-text", /^Allow tablet at web\? That failed: "tablet" is no digest/)
          yield* page.until("document.querySelector('#allow-web').value === 'tablet'")
          yield* typed("web", "laptop")
          yield* page.click("#yes")
          yield* page.shows("#outcome-text", "laptop may connect to web now.")
          yield* page.shows("#access li:nth-child(1) tbody", "laptoptx3.ymlRemove")
          yield* page.until("document.querySelector('#allow-web').value === ''")

          yield* typed("open", up.phone.digest)
          yield* page.shows(
            "#question-text",
            /^Everyone who knows the address may connect to open now\. From then on only /
          )
          yield* page.click("#yes")
          yield* page.shows("#access li:nth-child(2) tbody", `${up.phone.digest}tx3.ymlRemove`)
          assert.include(up.read(), `open: { service: ECHO, allow: [${up.phone.digest}], identity: b.pem }`)
          yield* page.click("#outcome-close")
          yield* page.shows("#outcome-text", "")
        }).pipe(quiet)
    )

    inBrowser(
      "says where a service is registered, where it is not, and why",
      () =>
        withRelay((relay) =>
          Effect.gen(function*() {
            const silent = portOf(yield* localServer((socket) => void socket.on("error", () => {}).resume()))
            const at = (port: number) => `tx3-rst://127.0.0.1:${port}/${relay.digest.value}`
            const up = yield* running(() =>
              `expose: { web: { service: ECHO, identity: a.pem, relays: ["${relay}", "${at(silent)}", "${at(1)}"] } }\n`
            )
            const page = yield* Browser.open(yield* up.link)
            const state = (number: number, words: RegExp) =>
              page.shows(`#services .states li:nth-child(${number})`, words)
            yield* state(2, new RegExp(`^Connecting to 127\\.0\\.0\\.1:${silent}`))
            yield* state(1, /^Registered at 127\.0\.0\.1:\d+ for \d+ s$/)
            yield* state(3, /^Not registered at 127\.0\.0\.1:1; next try in \d+ s: .*connection refused/)
            yield* page.until(
              "[...document.querySelectorAll('#services .states li')].map((line) => line.className).join() === 'live,connecting,lost'"
            )
            assert.deepStrictEqual(yield* page.audit, [])
            yield* page.screenshot("up-light-registrations")
            yield* up.close
          }).pipe(quiet)
        ).pipe(quiet)
    )

    inBrowser("says what is empty", () =>
      Effect.gen(function*() {
        const up = yield* running(({ phone }) =>
          `forward: { work: { to: ["tx3-st://127.0.0.1:1/${phone}"], listen: "127.0.0.1:0" } }\n`
        )
        const page = yield* Browser.open(yield* up.link)
        yield* page.shows("[data-empty=connections]", "No connection is open")
        yield* page.shows("[data-empty=access]", "Nothing is exposed")
        yield* page.shows("[data-empty=messages]", "Nothing has happened yet")
        assert.deepStrictEqual(yield* page.audit, [])
      }).pipe(quiet))
  })
})
