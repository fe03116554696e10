/**
 * Opens outgoing TCP connections through a proxy, where one is set: an HTTP proxy with CONNECT (RFC 9110, section 9.3.6), or a
 * SOCKS5 one (RFC 1928). The proxy itself is dialed as `Dial` does, and resolves the destination's name. A socket is closed with
 * the scope that it was opened in.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as http from "node:http"
import * as net from "node:net"
import * as Dial from "./Dial.js"

/**
 * A proxy, and the credentials it is given, if any.
 *
 * @since 0.1.0
 * @category models
 */
export interface ProxyServer extends Dial.Endpoint {
  readonly kind: "http" | "socks5"
  readonly credentials: Redacted.Redacted<{ readonly user: string; readonly password: string }> | undefined
}

/**
 * Chooses the proxy for a connection to an endpoint, or none.
 *
 * @since 0.1.0
 * @category models
 */
export type ProxyOf = (endpoint: Dial.Endpoint) => ProxyServer | undefined

/**
 * The proxy of outgoing connections. Without one they are direct.
 *
 * @since 0.1.0
 * @category references
 */
export class Proxy extends Context.Reference<Proxy>()("@tx3/sockets/Proxy", {
  defaultValue: (): ProxyOf => () => undefined
}) {}

/**
 * A text that names no proxy. It has no part of the text but the scheme, since the text may hold a password.
 *
 * @since 0.1.0
 * @category errors
 */
export class ProxyUrlError extends Schema.TaggedError<ProxyUrlError>("@tx3/sockets/ProxyUrlError")("ProxyUrlError", {
  problem: Schema.String,
  /** The variable of the environment that has the text. */
  variable: Schema.optional(Schema.String)
}) {
  override get message(): string {
    const place = this.variable === undefined ? "" : `${this.variable}: `
    return `${place}${this.problem}; write http://HOST:PORT or socks5://HOST:PORT, with USER:PASSWORD@ before HOST where the proxy wants it`
  }
}

/**
 * A proxy did not make a connection to `target`:
 *
 * - `unreachable`: the proxy itself could not be connected to, as `detail` says;
 * - `refused`: it answered with something else than a connection: `detail` is its status;
 * - `credentials`: it wants a user name and a password, or others;
 * - `violation`: what it answered is neither HTTP nor SOCKS5;
 * - `silent`: it did not answer in time.
 *
 * @since 0.1.0
 * @category errors
 */
export class ProxyError extends Schema.TaggedError<ProxyError>("@tx3/sockets/ProxyError")("ProxyError", {
  /** The proxy, without credentials. */
  proxy: Schema.String,
  target: Schema.String,
  reason: Schema.Literal("unreachable", "refused", "credentials", "violation", "silent"),
  detail: Schema.String
}) {
  override get message(): string {
    const { detail, proxy, target } = this
    switch (this.reason) {
      case "unreachable":
        return `cannot connect to the proxy ${proxy} (${detail}); set HTTPS_PROXY or ALL_PROXY to another, or name the host of ` +
          `${target} in NO_PROXY to go around it`
      case "refused":
        return `the proxy ${proxy} does not connect to ${target}: ${detail}; ask its owner to allow this host and port`
      case "credentials":
        return `the proxy ${proxy} does not accept the user name and password (${detail}); write USER:PASSWORD@ before its host in ` +
          "HTTPS_PROXY or ALL_PROXY"
      case "violation":
        return `the proxy ${proxy} did not answer as one (${detail}); is its scheme right, http:// or socks5://?`
      case "silent":
        return `the proxy ${proxy} did not connect to ${target} within ${detail}; is the destination running and reachable?`
    }
  }
}

const schemes: Record<string, ProxyServer["kind"]> = {
  "http:": "http",
  "socks5:": "socks5",
  "socks5h:": "socks5"
}

const defaultPorts = { http: 80, socks5: 1080 }

/**
 * Reads `http://HOST:PORT`, `socks5://HOST:PORT`, `socks5h://HOST:PORT` or `HOST:PORT`, which is the first, with
 * `USER:PASSWORD@` before the host, percent-encoded, where the proxy wants them.
 *
 * @since 0.1.0
 * @category parsing
 */
export const parse = (text: string): Either.Either<ProxyServer, ProxyUrlError> => {
  const fail = (problem: string) => Either.left(new ProxyUrlError({ problem }))
  const [, scheme] = /^([a-z][\w+.-]*:)\/\//i.exec(text) ?? []
  const kind = schemes[scheme?.toLowerCase() ?? "http:"]
  if (kind === undefined) {
    return fail(`the scheme ${scheme!.slice(0, -1)} is unknown`)
  }
  // Only of a scheme that it knows does URL check the host.
  const rest = scheme === undefined ? text : text.slice(scheme.length + 2)
  try {
    const url = new URL(`http://${rest}`)
    const port = /:0*80\/?$/.test(rest) ? 80 : Number(url.port || defaultPorts[kind])
    if (port === 0 || url.pathname !== "/" || url.search !== "" || url.hash !== "") {
      return fail("there must be a host and a port, and nothing behind them")
    }
    const [user, password] = [url.username, url.password].map(decodeURIComponent) as [string, string]
    return Either.right({
      kind,
      host: url.hostname.replace(/^\[|\]$/g, ""),
      port,
      credentials: user === "" ? undefined : Redacted.make({ user, password })
    })
  } catch {
    return fail("it is no URL of a proxy")
  }
}

/** Whether a host is this machine, which a proxy would take for itself. */
const isLoopback = (host: string) =>
  /^(?:.*\.)?localhost\.?$/i.test(host) || (net.isIP(host) !== 0 && inRange(loopbackRanges, host))

const inRange = (ranges: net.BlockList, address: string) => ranges.check(address, net.isIPv4(address) ? "ipv4" : "ipv6")

const rangesOf = (...ranges: ReadonlyArray<readonly [address: string, bits: number]>) => {
  const list = new net.BlockList()
  ranges.forEach(([address, bits]) => list.addSubnet(address, bits, net.isIPv4(address) ? "ipv4" : "ipv6"))
  return list
}

const loopbackRanges = rangesOf(["127.0.0.0", 8], ["::1", 128])

type Matcher = (endpoint: Dial.Endpoint) => boolean

/** An entry of NO_PROXY: `*`, a name, which stands for those below it too, an address or a CIDR range, with or without a port. */
const matcherOf = (entry: string): Matcher => {
  if (entry === "*") {
    return () => true
  }
  const [, range, bits] = /^\[?([\da-f:.]+)\]?\/(\d{1,3})$/i.exec(entry) ?? []
  if (range !== undefined && net.isIP(range) !== 0 && Number(bits) <= (net.isIPv4(range) ? 32 : 128)) {
    const ranges = rangesOf([range, Number(bits)])
    return ({ host }) => net.isIP(host) !== 0 && inRange(ranges, host)
  }
  const [, bracketed, name, port] = net.isIPv6(entry)
    ? [entry, entry]
    : /^(?:\[([^\]]+)\]|(?:\*?\.)?([^:]*))(?::(\d+))?$/.exec(entry) ?? []
  const wanted = (bracketed ?? name ?? entry).toLowerCase().replace(/\.$/, "")
  return (endpoint) => {
    const host = endpoint.host.toLowerCase().replace(/\.$/, "")
    return (host === wanted || (net.isIP(host) === 0 && host.endsWith(`.${wanted}`))) &&
      (port === undefined || Number(port) === endpoint.port)
  }
}

/**
 * Sends all connections through a proxy but those to this machine itself and to the hosts of `noProxy`, which is written as the
 * variable `NO_PROXY`: names with those below them, addresses, CIDR ranges and `*`, each with `:PORT` or without, and commas
 * between.
 *
 * @since 0.1.0
 * @category constructors
 */
export const through = (proxy: ProxyServer, noProxy = ""): ProxyOf => {
  const matchers = noProxy.split(/[\s,]+/).filter((entry) => entry !== "").map(matcherOf)
  return (endpoint) => isLoopback(endpoint.host) || matchers.some((matches) => matches(endpoint)) ? undefined : proxy
}

/**
 * Has the nodes that are made with this layer connect through a proxy, as {@link parse} and {@link through} read it. It does not
 * read the environment; {@link layerEnvironment} does.
 *
 * @example
 * ```ts
 * import { Tx3Node } from "@tx3/node"
 * import { Proxy } from "@tx3/sockets"
 * import { Layer } from "effect"
 *
 * export const node = Layer.provide(
 *   Tx3Node.layer({}),
 *   Proxy.layer("http://proxy.example.org:3128", "internal.example.org")
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (proxy: string, noProxy?: string): Layer.Layer<Proxy, ProxyUrlError> =>
  Layer.effect(Proxy, Either.map(parse(proxy), (server) => through(server, noProxy)))

/** The variables, the first that is set before the others; in lower case first, as curl has it. */
const variables = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]
const exceptions = ["no_proxy", "NO_PROXY"]

const valueOf = (name: string) =>
  Effect.map(Effect.orDie(Config.option(Config.nonEmptyString(name))), Option.map((value) => ({ name, value })))

const firstOf = (names: ReadonlyArray<string>) => Effect.map(Effect.forEach(names, valueOf), Option.firstSomeOf)

/**
 * Has the nodes that are made with this layer connect through the proxy that the environment names: in the first that is set of
 * `https_proxy`, `HTTPS_PROXY`, `all_proxy` and `ALL_PROXY`. `no_proxy` or `NO_PROXY` names the hosts to connect to directly. Where
 * no variable names a proxy, the nodes connect directly.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerEnvironment: Layer.Layer<Proxy, ProxyUrlError> = Layer.effect(
  Proxy,
  Effect.gen(function*() {
    const proxy = Option.getOrUndefined(yield* firstOf(variables))
    const noProxy = Option.getOrUndefined(yield* firstOf(exceptions))
    return proxy === undefined
      ? () => undefined
      : yield* Either.mapBoth(parse(proxy.value), {
        onLeft: ({ problem }) => new ProxyUrlError({ problem, variable: proxy.name }),
        onRight: (server) => through(server, noProxy?.value)
      })
  })
)

const textOf = ({ host, kind, port }: ProxyServer) => `${kind}://${hostPort({ host, port })}`

const hostPort = ({ host, port }: Dial.Endpoint) => net.isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`

/**
 * Connects to a host through its proxy, or as `Dial.connect` does where it has none. Through a proxy `timeoutMs` is for all of it,
 * the proxy's own name is resolved and its addresses are tried as any other's, and the connection's `remoteAddress` is the host
 * that was asked for. It cannot have a `localAddress` of its own.
 *
 * @since 0.1.0
 * @category connecting
 */
export const connect = (
  options: Omit<Dial.Options, "localAddress">
): Effect.Effect<Dial.Connection, Dial.DialError | ProxyError, Scope.Scope> =>
  Effect.flatMap(Proxy, (proxyOf): ReturnType<typeof connect> => {
    const { attemptTimeoutMs, host, port, timeoutMs = Dial.timeoutMs } = options
    const proxy = proxyOf(options)
    if (proxy === undefined) {
      return Dial.connect(options)
    }
    const fail = (reason: ProxyError["reason"], detail: string) =>
      new ProxyError({ proxy: textOf(proxy), target: hostPort(options), reason, detail })
    return Effect.gen(function*() {
      const { socket } = yield* Effect.mapError(
        Dial.connect({ host: proxy.host, port: proxy.port, attemptTimeoutMs, timeoutMs }),
        (error) => fail("unreachable", error.reasons())
      )
      yield* proxy.kind === "http"
        ? connectByHttp(socket, proxy, options, fail)
        : connectBySocks(socket, proxy, options, fail)
      return { socket, remoteAddress: { host, port } }
    }).pipe(
      Effect.timeoutFail({ duration: timeoutMs, onTimeout: () => fail("silent", `${timeoutMs} ms`) })
    )
  })

type Fail = (reason: ProxyError["reason"], detail: string) => ProxyError

const connectByHttp = (socket: net.Socket, proxy: ProxyServer, target: Dial.Endpoint, fail: Fail) =>
  Effect.async<void, ProxyError>((resume) => {
    const credentials = proxy.credentials && Redacted.value(proxy.credentials)
    const authority = hostPort(target)
    const request = http.request({
      method: "CONNECT",
      path: authority,
      setHost: false,
      headers: {
        host: authority,
        ...credentials && {
          "proxy-authorization": `Basic ${
            Buffer.from(`${credentials.user}:${credentials.password}`).toString("base64")
          }`
        }
      },
      createConnection: () => socket
    })
    request.once("connect", ({ statusCode = 0 }: http.IncomingMessage, _: unknown, head: Buffer) => {
      if (statusCode >= 200 && statusCode < 300) {
        if (head.length > 0) {
          socket.unshift(head)
        }
        return resume(Effect.void)
      }
      // Its own words are a stranger's.
      const status = `status ${statusCode} ${http.STATUS_CODES[statusCode] ?? ""}`.trim()
      resume(fail(statusCode === 407 ? "credentials" : "refused", status))
    })
    // Another event means that something else than CONNECT was answered.
    request.once("upgrade", () => resume(fail("violation", "it switched protocols")))
    request.on("error", ({ code, message }: NodeJS.ErrnoException) =>
      resume(
        code?.startsWith("HPE_") === true
          ? fail("violation", "no HTTP")
          : fail("refused", code === "ECONNRESET" ? "it closed the connection" : message)
      ))
    request.end()
    return Effect.sync(() => request.destroy())
  })

const connectBySocks = (socket: net.Socket, proxy: ProxyServer, { host, port }: Dial.Endpoint, fail: Fail) =>
  Effect.tryPromise({
    try: async () => {
      const { SocksClient } = await import("socks")
      const credentials = proxy.credentials && Redacted.value(proxy.credentials)
      await SocksClient.createConnection({
        proxy: {
          host: proxy.host,
          port: proxy.port,
          type: 5,
          ...credentials && { userId: credentials.user, password: credentials.password }
        },
        command: "connect",
        destination: { host, port },
        existing_socket: socket
      })
      // It has the socket flow in the next turn. A tx3 server sends nothing before it has been sent something.
      await new Promise<void>((resolve) => setImmediate(() => setImmediate(resolve)))
      socket.pause()
    },
    // The error itself holds the options, and so the password.
    catch: (error) => socksFailure((error as Error).message, fail)
  }).pipe(Effect.raceFirst(hungUp(socket, fail)))

/** The socket is half-open, and would wait for what a proxy that has ended does not say. */
const hungUp = (socket: net.Socket, fail: Fail) =>
  Effect.async<never, ProxyError>((resume) => {
    const onEnd = () => resume(fail("refused", "it closed the connection"))
    socket.once("end", onEnd)
    return Effect.sync(() => socket.off("end", onEnd))
  })

const socksFailure = (message: string, fail: Fail) => {
  const [, reason] = /rejected connection - (\w+)/.exec(message) ?? []
  return reason !== undefined
    ? fail("refused", reason.replace(/(?<=[a-z])(?=[A-Z])/g, " ").toLowerCase())
    : /auth/i.test(message)
    ? fail("credentials", "authentication failed")
    : /closed/i.test(message)
    ? fail("refused", "it closed the connection")
    : fail("violation", "no SOCKS5")
}

/**
 * Tells whether it may help to try again: the proxy was away or silent, or an HTTP proxy says that its way is.
 *
 * @since 0.1.0
 * @category predicates
 */
export const mayPass = ({ detail, reason }: ProxyError): boolean =>
  reason === "unreachable" || reason === "silent" ||
  (reason === "refused" && /^status 5|unreachable|expired|closed/.test(detail))
