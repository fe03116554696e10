/** The directory over Debian's nats-server. */
import { assert, describe, it } from "@effect/vitest"
import { nkeys } from "@nats-io/transport-node"
import { Directory, NatsDirectory } from "@tx3/cluster"
import { RelayTest } from "@tx3/relay"
import { temporaryFolder } from "@tx3/testing/builtPrograms"
import { blocks, read } from "@tx3/testing/packaging"
import { withPrograms } from "@tx3/testing/withPrograms"
import { Context, Duration, Effect, Exit, Layer, Logger, LogLevel, Option, Redacted, Scope } from "effect"
import { execFileSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { natsServer } from "./utils/natsServer.js"

const directory = (options: NatsDirectory.Options) =>
  Layer.build(Layer.fresh(NatsDirectory.layer(options))).pipe(
    Effect.map(Context.get(Directory.Directory)),
    Logger.withMinimumLogLevel(LogLevel.None)
  )

/** What NATS' tools call a JWT: claims of `subject`, signed by `issuer`. */
const claims = (issuer: nkeys.KeyPair, subject: nkeys.KeyPair, nats: Record<string, unknown>) => {
  const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url")
  const text = `${encode({ typ: "JWT", alg: "ed25519-nkey" })}.${
    encode({
      jti: "x",
      iat: 1_700_000_000,
      iss: issuer.getPublicKey(),
      name: "test",
      sub: subject.getPublicKey(),
      nats: { version: 2, ...nats }
    })
  }`
  return `${text}.${Buffer.from(issuer.sign(Buffer.from(text))).toString("base64url")}`
}

const reasonOf = (directory: Directory.Directory["Type"], subject: string) =>
  Effect.map(Effect.flip(directory.ask(subject, "?")), ({ reason }) => reason)

withPrograms(["nats-server"], () => {
  describe("NatsDirectory", () => {
    it.scopedLive("asks who answers, learns at once that nobody does, and tells all", () =>
      Effect.gen(function*() {
        const { url } = yield* natsServer()
        const [one, other] = [yield* directory({ servers: [url] }), yield* directory({ servers: [url] })]
        const scope = yield* Scope.make()
        yield* Scope.extend(one.answer("a.b", (question) => Effect.succeed(`${question}!`)), scope)
        yield* one.flush
        assert.strictEqual(yield* other.ask("a.b", "who"), "who!")
        assert.strictEqual(yield* one.ask("a.b", "who"), "who!")
        assert.strictEqual(yield* reasonOf(other, "a.c"), "nobody")
        yield* one.answer("empty", () => Effect.succeed(""))
        yield* one.flush
        assert.strictEqual(yield* other.ask("empty", "who"), "")
        const questions = Array.from({ length: 100 }, (_, number) => String(number))
        assert.deepStrictEqual(
          yield* Effect.forEach(questions, (question) => other.ask("a.b", question), { concurrency: "unbounded" }),
          questions.map((question) => `${question}!`)
        )
        yield* Scope.extend(one.answer("m.*", (question) => Effect.succeed(`${question}?`)), scope)
        yield* one.flush
        assert.strictEqual(yield* other.ask("m.any", "who"), "who?")
        assert.strictEqual(yield* reasonOf(other, "m.any.other"), "nobody")
        yield* Scope.close(scope, Exit.void)
        yield* one.flush
        assert.strictEqual(yield* reasonOf(other, "m.any"), "nobody")
        assert.strictEqual(yield* reasonOf(other, "a.b"), "nobody")
        const heard: Array<string> = []
        yield* other.listen("all", (announcement) => heard.push(announcement))
        yield* other.flush
        yield* one.tell("all", "hello")
        yield* RelayTest.eventually(Effect.sync(() => heard.length === 1))
        assert.deepStrictEqual(heard, ["hello"])
      }))

    it.scopedLive("an answer that does not come, and an engine that is away, are unavailable; all is back with the engine", () =>
      Effect.gen(function*() {
        const first = yield* natsServer()
        const [one, other] = [
          yield* directory({ servers: [first.url] }),
          yield* directory({ servers: [first.url] })
        ]
        yield* one.answer("mute", () => Effect.never)
        yield* one.answer("here", Effect.succeed)
        yield* one.flush
        assert.strictEqual(yield* reasonOf(other, "mute"), "unavailable")
        first.kill("SIGKILL")
        yield* first.ended
        yield* RelayTest.eventually(Effect.sync(() => !one.isConnected() && !other.isConnected()))
        assert.strictEqual(yield* reasonOf(other, "here"), "unavailable")
        yield* one.answer("new", Effect.succeed)
        yield* natsServer(first.port)
        yield* RelayTest.eventually(Effect.sync(() => one.isConnected() && other.isConnected()))
        yield* one.flush
        assert.strictEqual(yield* other.ask("here", "back"), "back")
        assert.strictEqual(yield* other.ask("new", "too"), "too")
      }))

    it.scopedLive("an engine that is away at the start comes later", () =>
      Effect.gen(function*() {
        const before = yield* Effect.scoped(natsServer())
        const early = yield* directory({ servers: [before.url] })
        assert.isFalse(early.isConnected())
        assert.strictEqual(yield* reasonOf(early, "x"), "unavailable")
        yield* early.answer("x", Effect.succeed)
        yield* natsServer(before.port)
        yield* RelayTest.eventually(Effect.sync(early.isConnected))
        yield* early.flush
        assert.strictEqual(yield* early.ask("x", "late"), "late")
      }))

    // Those of NATS' own documentation.
    const user = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"
    const seed = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"
    it.scopedLive("shows a password, a token or an nkey, and is away if the engine does not take it", () =>
      Effect.gen(function*() {
        const password = yield* natsServer(-1, "authorization { user: relay, password: \"p@ss/1\" }")
        const token = yield* natsServer(-1, "authorization { token: secret }")
        const at = (url: string, who: string) => url.replace("//", `//${who}@`)
        assert.isTrue((yield* directory({ servers: [at(password.url, "relay:p%40ss%2F1")] })).isConnected())
        assert.isTrue((yield* directory({ servers: [at(token.url, "secret")] })).isConnected())
        assert.isFalse((yield* directory({ servers: [at(token.url, "wrong")] })).isConnected())
        assert.isFalse((yield* directory({ servers: [password.url] })).isConnected())
        const nkey = yield* natsServer(-1, `authorization { users: [ { nkey: ${user} } ] }`)
        const shown = { servers: [nkey.url], credentials: Redacted.make(`${seed}\n`) }
        assert.isTrue((yield* directory(shown)).isConnected())
        const wrong = yield* Effect.flip(directory({ servers: [token.url], credentials: Redacted.make("not a seed") }))
        assert.include(wrong.message, "neither a credentials file")
      }))

    it.scopedLive("shows a credentials file, which NATS reads as its own tools write it", () =>
      Effect.gen(function*() {
        const [operator, account, user] = [nkeys.createOperator(), nkeys.createAccount(), nkeys.createUser()]
        const server = yield* natsServer(
          -1,
          [
            `operator: ${claims(operator, operator, { type: "operator" })}`,
            "resolver: MEMORY",
            `resolver_preload: { ${account.getPublicKey()}: ${
              claims(operator, account, {
                type: "account",
                limits: { subs: -1, conn: -1, data: -1, payload: -1, wildcards: true }
              })
            } }`
          ].join("\n")
        )
        const credentials = (type: string) =>
          Redacted.make([
            "-----BEGIN NATS USER JWT-----",
            claims(account, user, { type, subs: -1, data: -1, payload: -1 }),
            "------END NATS USER JWT------",
            "-----BEGIN USER NKEY SEED-----",
            Buffer.from(user.getSeed()).toString(),
            "------END USER NKEY SEED------",
            ""
          ].join("\n"))
        const good = yield* directory({ servers: [server.url], credentials: credentials("user") })
        assert.isTrue(good.isConnected())
        yield* good.answer("a", Effect.succeed)
        assert.strictEqual(yield* good.ask("a", "it is asked"), "it is asked")
        assert.isFalse((yield* directory({ servers: [server.url], credentials: credentials("account") })).isConnected())
      }))

    it.scopedLive("needs no more permissions than docs/cluster.md gives a member", () =>
      Effect.gen(function*() {
        const [config = ""] = blocks(read("docs/cluster.md").replace(/^ {3}/gm, ""), "conf")
        const { url } = yield* natsServer(
          -1,
          config.replace(/^(listen|ping_\w+):.*\n/gm, "").replaceAll(/10\.0\.0\.\d:\d+/g, "127.0.0.1:-1").replace(
            /routes:.*/,
            ""
          ),
          { RELAY_PASSWORD: "s3cret" }
        )
        const servers = [url.replace("//", "//relay:s3cret@")]
        const [one, other] = [yield* directory({ servers }), yield* directory({ servers })]
        assert.isTrue(one.isConnected() && other.isConnected())
        const heard: Array<string> = []
        yield* other.listen("tx3.name.all", (announcement) => heard.push(announcement))
        yield* one.answer("tx3.name.node.N", Effect.succeed)
        yield* Effect.all([one.flush, other.flush])
        yield* one.tell("tx3.name.all", "told")
        assert.strictEqual(yield* other.ask("tx3.name.node.N", "asked"), "asked")
        assert.strictEqual(yield* reasonOf(other, "tx3.name.node.M"), "nobody")
        yield* RelayTest.eventually(Effect.sync(() => heard.length === 1))
        // Another's subject is not for a member, whether or not it has an answer.
        yield* one.answer("other.N", Effect.succeed)
        yield* one.flush
        const [taken, reason] = yield* Effect.timed(reasonOf(other, "other.N"))
        assert.strictEqual(reason, "unavailable")
        // The engine says so at once.
        assert.isBelow(Duration.toMillis(taken), 1_000)
      }))

    it.scopedLive("goes on with a server that is left of a NATS cluster, and with those that come back", () =>
      Effect.gen(function*() {
        const start = (to: ReadonlyArray<number>, port = -1) =>
          Effect.gen(function*() {
            const routes = to.map((route) => `"nats://127.0.0.1:${route}"`).join(", ")
            const server = yield* natsServer(
              port,
              `cluster { name: c, listen: "127.0.0.1:-1", routes: [ ${routes} ] }\n`
            )
            const [, route] = yield* server.untilStderr(/route connections on 127\.0\.0\.1:(\d+)/)
            return { ...server, route: Number(route) }
          })
        const first = yield* start([])
        const second = yield* start([first.route])
        const third = yield* start([first.route, second.route])
        const servers = [first, second, third]
        const urls = servers.map(({ url }) => url)
        const [one, other] = [yield* directory({ servers: urls }), yield* directory({ servers: urls.toReversed() })]
        yield* one.answer("here", Effect.succeed)
        const asked = (text: string) =>
          RelayTest.eventually(Effect.map(Effect.option(other.ask("here", text)), Option.contains(text)))
        yield* asked("all")
        first.kill("SIGKILL")
        second.kill("SIGKILL")
        yield* asked("one is left")
        yield* start([third.route], first.port)
        third.kill("SIGKILL")
        yield* asked("another came back")
      }))
  })

  withPrograms(["openssl"], () => {
    describe("NatsDirectory over TLS", () => {
      it.scopedLive("takes a server whose authority it is given, and shows it a certificate", () =>
        Effect.gen(function*() {
          const folder = yield* temporaryFolder
          const openssl = (...args: ReadonlyArray<string>) =>
            execFileSync("openssl", args, { cwd: folder, stdio: ["ignore", "ignore", "ignore"] })
          const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
          openssl("req", "-x509", ...key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", "-days", "1")
          for (const name of ["server", "relay"]) {
            openssl(
              "req",
              "-x509",
              ...key,
              "-keyout",
              `${name}.key`,
              "-out",
              `${name}.pem`,
              "-subj",
              `/CN=${name}`,
              "-addext",
              "subjectAltName=IP:127.0.0.1",
              "-CA",
              "ca.pem",
              "-CAkey",
              "ca.key",
              "-days",
              "1"
            )
          }
          const read = (name: string) => readFileSync(join(folder, name), "utf8")
          const { url } = yield* natsServer(
            -1,
            `tls { cert_file: "${folder}/server.pem", key_file: "${folder}/server.key", ca_file: "${folder}/ca.pem", verify: true }`
          )
          const servers = [url.replace("nats:", "tls:")]
          const ca = read("ca.pem")
          const shown = { ca, cert: read("relay.pem"), key: Redacted.make(read("relay.key")) }
          assert.isTrue((yield* directory({ servers, tls: shown })).isConnected())
          assert.isFalse((yield* directory({ servers, tls: { ca } })).isConnected())
          assert.isFalse((yield* directory({ servers })).isConnected())
          const elsewhere = [servers[0]!.replace("127.0.0.1", "localhost")]
          assert.isFalse((yield* directory({ servers: elsewhere, tls: shown })).isConnected())
          // A server without TLS is not shown a password.
          const plain = yield* natsServer()
          assert.isFalse((yield* directory({ servers: [plain.url.replace("nats:", "tls:")] })).isConnected())
        }))
    })
  })
})
