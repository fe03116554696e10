/**
 * The directory over NATS: an entry is a subscription, so it cannot be stale, and it is gone with the process that made it. NATS'
 * client is loaded when the layer is built.
 *
 * The layer owns one connection until its scope closes. While the engine is away it tries again by itself, questions fail at
 * once, and it has said so in the log.
 *
 * @since 0.1.0
 */
import type * as Nats from "@nats-io/transport-node"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Tls from "node:tls"
import { Directory, NotAnswered } from "./Directory.js"
import * as Expiring from "./internal/expiring.js"

/**
 * Where the engine is, and what it is shown.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * `nats://HOST:PORT`, or `tls://HOST:PORT` to insist on TLS; several are members of one NATS cluster. `USER:PASSWORD@` or
   * `TOKEN@` before the host of any of them is shown to all.
   */
  readonly servers: ReadonlyArray<string>
  /** The contents of a credentials file, or an nkey's seed. */
  readonly credentials?: Redacted.Redacted | undefined
  /** PEM texts: the authority that signed the servers' certificates, and a certificate of one's own with its key. */
  readonly tls?: {
    readonly ca?: string | undefined
    readonly cert?: string | undefined
    readonly key?: Redacted.Redacted | undefined
  } | undefined
}

/**
 * Options that cannot be used, whatever the engine says.
 *
 * @since 0.1.0
 * @category errors
 */
export class NatsOptionsError extends Data.TaggedError("NatsOptionsError")<{ readonly problem: string }> {
  override get message() {
    return this.problem
  }
}

/** A member that does not answer in this time is taken to be unavailable. */
const answerMs = 1_000

/** A server that does not let us in in this time is given up for another. */
const connectMs = 2_000

/** How often it is tried to connect. */
const retryMs = 250

const retryJitterMs = 100

/** How often the engine is asked whether it is there. */
const pingMs = 1_000

/** Pings without an answer after which it is not. */
const pingsMax = 2

/** How long a relay waits, when it starts, until it knows whether the engine is there. */
const startMs = 2_000

/**
 * A directory over the NATS servers of `options`. Fails only if the options are wrong: an engine that is away may come.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<Directory, NatsOptionsError> =>
  Layer.scoped(Directory, make(options))

/** Something that is subscribed to whenever there is a connection. */
interface Interest {
  readonly subject: string
  readonly onMessage: (message: Nats.Msg) => void
  subscription: Nats.Subscription | undefined
}

/** A question that awaits its answer. */
interface Asked {
  readonly subject: string
  readonly resume: (answer: Effect.Effect<string, NotAnswered>) => void
}

const nobody = Exit.fail(new NotAnswered({ reason: "nobody" }))
const unavailable = Exit.fail(new NotAnswered({ reason: "unavailable" }))

const make = (options: Options) =>
  Effect.gen(function*() {
    const nats = yield* Effect.promise(() => import("@nats-io/transport-node"))
    const connectOptions = yield* connectOptionsOf(nats, options)
    const run = yield* FiberSet.makeRuntime()
    const interests = new Set<Interest>()
    const tried = Effect.unsafeMakeLatch(false)
    const inbox = `${nats.createInbox()}.`
    // By the number that ends the answer's subject. The client's `request` makes promises, a timer and an error for each question.
    const asked = yield* Expiring.make<string, Asked>({
      keepMs: answerMs,
      most: Infinity,
      onExpired: ({ resume }) => resume(unavailable)
    })
    let lastAsked = 0
    let connection: Nats.NatsConnection | undefined
    /** Undefined until the first attempt is over. */
    let isConnected: boolean | undefined

    const subscribe = (to: Nats.NatsConnection, interest: Interest) => {
      interest.subscription = to.subscribe(interest.subject, {
        callback: (error, message) => {
          // Errors of a subscription are among the connection's.
          if (error === null) {
            interest.onMessage(message)
          }
        }
      })
    }

    const interested = (subject: string, onMessage: Interest["onMessage"]) =>
      Effect.asVoid(Effect.acquireRelease(
        Effect.sync(() => {
          const interest: Interest = { subject, onMessage, subscription: undefined }
          interests.add(interest)
          if (connection !== undefined) {
            subscribe(connection, interest)
          }
          return interest
        }),
        (interest) =>
          Effect.sync(() => {
            interests.delete(interest)
            interest.subscription?.unsubscribe()
          })
      ))

    /** Says once that the engine is away, or is there again. */
    const changed = (now: boolean, why?: string) =>
      Effect.suspend(() => {
        if (isConnected === now) {
          return Effect.void
        }
        isConnected = now
        tried.unsafeOpen()
        return now
          ? Effect.logInfo(`connected to NATS at ${connection!.getServer()}`)
          : Effect.logWarning(`${away}: ${why ?? "the connection ended"}`)
      })

    /** Ends the questions that the engine does not let this member ask. */
    const refuse = (error: Error) => {
      if (error instanceof nats.PermissionViolationError && error.operation === "publish") {
        asked.takeAll(({ subject }) => subject === error.subject).forEach(({ resume }) => resume(unavailable))
      }
    }

    const watch = (connection: Nats.NatsConnection) =>
      Effect.promise(async () => {
        for await (const status of connection.status()) {
          if (status.type === "disconnect") {
            run(changed(false))
          } else if (status.type === "reconnect") {
            run(changed(true))
          } else if (status.type === "error") {
            refuse(status.error)
            run(Effect.logWarning("NATS", status.error.message))
          }
        }
      })

    /** Until it is closed, which it does not do by itself while there are servers to try. */
    const serve = Effect.acquireUseRelease(
      Effect.tryPromise({ try: () => nats.connect(connectOptions), catch: reasonOf }),
      (opened) =>
        Effect.suspend(() => {
          connection = opened
          interests.forEach((interest) => subscribe(opened, interest))
          return Effect.zipRight(changed(true), watch(opened))
        }),
      (opened) =>
        Effect.suspend(() => {
          connection = undefined
          interests.forEach((interest) => {
            interest.subscription = undefined
          })
          return within(answerMs, () => opened.close())
        })
    )

    yield* interested(`${inbox}*`, (message) => {
      const isNobody = message.data.length === 0 && message.headers?.code === 503
      asked.take(message.subject.slice(inbox.length))?.resume(isNobody ? nobody : Exit.succeed(message.string()))
    })
    yield* Effect.catchAll(serve, (why) => changed(false, why)).pipe(
      Effect.zipRight(Effect.sleep(retryMs)),
      Effect.forever,
      Effect.forkScoped
    )
    yield* Effect.timeoutOption(tried.await, startMs)

    return {
      answer: (subject, answer) =>
        interested(subject, (message) => run(Effect.map(answer(message.string()), (text) => message.respond(text)))),
      ask: (subject, question) =>
        Effect.async<string, NotAnswered>((resume) => {
          const number = String(++lastAsked)
          if (connection === undefined || isConnected !== true) {
            resume(unavailable)
            return
          }
          asked.add(number, { subject, resume })
          try {
            connection.publish(subject, question, { reply: inbox + number })
          } catch {
            asked.take(number)
            resume(unavailable)
          }
          return Effect.sync(() => asked.take(number))
        }),
      tell: (subject, announcement) =>
        Effect.sync(() => {
          if (isConnected === true) {
            connection?.publish(subject, announcement)
          }
        }),
      listen: (subject, listener) => interested(subject, (message) => listener(message.string())),
      flush: Effect.suspend(() =>
        connection === undefined || isConnected !== true ? Effect.void : within(answerMs, () => connection!.flush())
      ),
      isConnected: () => isConnected === true
    } satisfies Directory["Type"]
  })

const away = "NATS is away, so only local nodes and peers are served until it is back"

/** Waits for a promise, whatever comes of it, and no longer than this. */
const within = (ms: number, promise: () => Promise<unknown>) =>
  Effect.tryPromise(promise).pipe(
    Effect.interruptible,
    Effect.timeoutOption(Duration.millis(ms)),
    Effect.ignore
  )

const reasonOf = (error: unknown) => error instanceof Error ? error.message : String(error)

const connectOptionsOf = (nats: typeof Nats, { credentials, servers, tls }: Options) =>
  Effect.gen(function*() {
    const urls = servers.map((server) => new URL(server))
    const shown = urls.find(({ username }) => username !== "")
    const authenticator = credentials === undefined
      ? undefined
      : yield* authenticatorOf(nats, new TextEncoder().encode(Redacted.value(credentials)))
    const secured = tls !== undefined || urls.some(({ protocol }) => protocol === "tls:")
    return {
      servers: urls.map(({ host }) => host),
      name: "tx3-relay",
      maxReconnectAttempts: -1,
      ignoreAuthErrorAbort: true,
      // Servers are those of the settings, and no others that a server tells of.
      ignoreClusterUpdates: true,
      noAsyncTraces: true,
      pingInterval: pingMs,
      maxPingOut: pingsMax,
      reconnectTimeWait: retryMs,
      reconnectJitter: retryJitterMs,
      reconnectJitterTLS: retryJitterMs,
      timeout: connectMs,
      ...shown === undefined ? {} : shown.password === ""
        ? { token: decodeURIComponent(shown.username) }
        : { user: decodeURIComponent(shown.username), pass: decodeURIComponent(shown.password) },
      ...authenticator === undefined ? {} : { authenticator },
      ...secured
        ? {
          tls: {
            checkServerIdentity: isOneOf(urls),
            ...tls?.ca === undefined ? {} : { ca: tls.ca },
            ...tls?.cert === undefined ? {} : { cert: tls.cert },
            ...tls?.key === undefined ? {} : { key: Redacted.value(tls.key) }
          }
        }
        : {}
    }
  })

/** Whether a certificate is of one of these servers. NATS' client does not compare it with an IP address. */
const isOneOf = (urls: ReadonlyArray<URL>) => (_: string, certificate: Tls.PeerCertificate) => {
  const problems = urls.map(({ hostname }) => Tls.checkServerIdentity(hostname.replace(/^\[|\]$/g, ""), certificate))
  return problems.some((problem) => problem === undefined) ? undefined : problems[0]
}

/** Tries what it is given on a challenge: a seed that is none is noticed now. */
const authenticatorOf = (nats: typeof Nats, credentials: Uint8Array) =>
  Effect.try({
    try: () => {
      const isFile = Buffer.from(credentials).includes("BEGIN NATS USER JWT")
      const authenticator = isFile
        ? nats.credsAuthenticator(credentials)
        : nats.nkeyAuthenticator(Buffer.from(Buffer.from(credentials).toString().trim()))
      authenticator("challenge")
      return authenticator
    },
    catch: () => new NatsOptionsError({ problem: "is neither a credentials file of NATS nor the seed of an nkey" })
  })
