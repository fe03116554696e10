/**
 * Where a program of this machine, or of its network, takes connections or opens them: HOST:PORT or unix:PATH. Or where it takes
 * datagrams: udp:HOST:PORT. Sockets and listeners end with the scope they were opened in.
 */
import { hostPort } from "@tx3/protocol/Address"
import * as DeadPeers from "@tx3/sockets/DeadPeers"
import * as Dial from "@tx3/sockets/Dial"
import * as Listen from "@tx3/sockets/Listen"
import * as Reset from "@tx3/sockets/Reset"
import { bindPrivately, folderProblemOf, problemOf as problemOfPath } from "@tx3/sockets/UnixSocket"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as net from "node:net"

/**
 * A TCP or UDP endpoint, its host without brackets, or a unix socket's path.
 *
 * @since 0.1.0
 * @category models
 */
export type LocalEndpoint = Data.TaggedEnum<{
  Tcp: { readonly host: string; readonly port: number }
  Unix: { readonly path: string }
  Udp: { readonly host: string; readonly port: number }
}>

/**
 * Constructors, `$is` and `$match` for {@link LocalEndpoint}.
 *
 * @since 0.1.0
 * @category constructors
 */
export const { $is, $match, Tcp, Udp, Unix } = Data.taggedEnum<LocalEndpoint>()

/**
 * A text that names no endpoint, or one that this system cannot have, as `problem` says.
 *
 * @since 0.1.0
 * @category errors
 */
export class LocalEndpointError extends Schema.TaggedError<LocalEndpointError>("@tx3/reach/LocalEndpointError")(
  "LocalEndpointError",
  { input: Schema.String, problem: Schema.optional(Schema.String) }
) {
  override get message(): string {
    return this.problem === undefined
      ? `${
        JSON.stringify(this.input)
      } is no endpoint; write HOST:PORT, as 127.0.0.1:22 or [::1]:22, a port of 127.0.0.1 alone, udp:HOST:PORT, or unix:PATH`
      : `cannot use ${this.input}: ${this.problem}`
  }
}

/**
 * A connection could not be opened, or connections not be listened for, as `cause` says.
 *
 * @since 0.1.0
 * @category errors
 */
export class LocalError extends Schema.TaggedError<LocalError>("@tx3/reach/LocalError")("LocalError", {
  action: Schema.Literal("connect to", "listen at"),
  endpoint: Schema.String,
  cause: Schema.Defect
}) {
  override get message(): string {
    const problem = this.cause instanceof Dial.DialError ? this.cause.reasons(problemOf) : problemOf(this.cause)
    return `cannot ${this.action} ${this.endpoint}: ${problem}`
  }
}

const problems: Record<string, string> = {
  EACCES: "not permitted",
  EADDRINUSE: "another program listens there; stop it or choose another",
  EADDRNOTAVAIL: "this machine has no such address",
  ECONNREFUSED: "nothing listens there",
  ENOENT: "there is no such file or folder",
  ENOTFOUND: "the name has no address"
}

const problemOf = (cause: unknown) => {
  const { code, message } = cause as NodeJS.ErrnoException
  return problems[code ?? ""] ?? message
}

/**
 * Reads HOST:PORT, with an IPv6 address in brackets, unix:PATH, or a port of 127.0.0.1 alone; behind `udp:` a UDP one. Refuses a
 * path that no socket can have on `platform`.
 *
 * @since 0.1.0
 * @category parsing
 */
export const parse = (
  input: string,
  platform: NodeJS.Platform = process.platform
): Either.Either<LocalEndpoint, LocalEndpointError> => {
  if (/^unix:./.test(input)) {
    const path = input.slice("unix:".length)
    const problem = problemOfPath(path, platform)
    return problem === undefined
      ? Either.right(Unix({ path }))
      : Either.left(new LocalEndpointError({ input, problem }))
  }
  const [, udp, place] = /^(udp:)?(.*)$/s.exec(input)!
  const [, ipv6, name, digits] =
    /^(?:\[([\da-fA-F:.]+)\]|([\w.-]+)):(\d{1,5})$/.exec(/^\d+$/.test(place!) ? `127.0.0.1:${place}` : place!) ?? []
  const host = ipv6 ?? name
  const port = Number(digits)
  return host === undefined || (ipv6 !== undefined && !net.isIPv6(ipv6)) || port > 65_535
    ? Either.left(new LocalEndpointError({ input }))
    : Either.right((udp === undefined ? Tcp : Udp)({ host, port }))
}

/**
 * The text that {@link parse} reads.
 *
 * @since 0.1.0
 * @category conversions
 */
export const format: (endpoint: LocalEndpoint) => string = $match({
  Tcp: ({ host, port }) => hostPort(host, port),
  Udp: ({ host, port }) => `udp:${hostPort(host, port)}`,
  Unix: ({ path }) => `unix:${path}`
})

const refusePath = (action: LocalError["action"], endpoint: LocalEndpoint) => {
  const problem = $is("Unix")(endpoint)
    ? problemOfPath(endpoint.path) ?? (action === "listen at" ? folderProblemOf(endpoint.path) : undefined)
    : undefined
  return problem === undefined
    ? Effect.void
    : Effect.fail(new LocalError({ action, endpoint: format(endpoint), cause: new Error(problem) }))
}

/**
 * Opens a connection, half-open and unread. To a UDP endpoint there is none. `timeoutMs` is for all of it; of several addresses of a name the first that answers
 * is taken. The scope resets it unless both directions have ended by then.
 *
 * @since 0.1.0
 * @category connecting
 */
export const connect = (
  endpoint: LocalEndpoint,
  timeoutMs: number
): Effect.Effect<net.Socket, LocalError, Scope.Scope> =>
  refusePath("connect to", endpoint).pipe(
    Effect.zipRight(
      $match(endpoint, {
        Tcp: (endpoint) =>
          Dial.connect({ ...endpoint, attemptTimeoutMs: timeoutMs, timeoutMs }).pipe(
            Effect.map(({ socket }) => watched(socket))
          ),
        Udp: () => noConnections("connect to", endpoint),
        Unix: ({ path }) => connectUnix(path, timeoutMs)
      })
    ),
    Effect.tap((socket) => Effect.addFinalizer(() => Effect.sync(() => Reset.abandon(socket)))),
    Effect.mapError((cause) =>
      cause._tag === "LocalError"
        ? cause
        : new LocalError({
          action: "connect to",
          endpoint: format(endpoint),
          cause: cause._tag === "UnixError" ? cause.error : cause
        })
    )
  )

const watched = (socket: net.Socket) => {
  DeadPeers.watch(socket)
  return socket
}

const noConnections = (action: LocalError["action"], endpoint: LocalEndpoint) =>
  Effect.fail(
    new LocalError({ action, endpoint: format(endpoint), cause: new Error("UDP has datagrams, and no connections") })
  )

class UnixError extends Data.TaggedError("UnixError")<{ readonly error: Error }> {}

const connectUnix = (path: string, timeoutMs: number) =>
  Effect.acquireRelease(
    Effect.sync(() => net.connect({ path, allowHalfOpen: true }).on("error", () => {})),
    (socket) => Effect.sync(() => socket.destroy())
  ).pipe(
    Effect.tap((socket) =>
      Effect.async<void, UnixError>((resume) => {
        socket.once("connect", () => resume(Effect.void))
        socket.once("error", (error) => resume(new UnixError({ error })))
      })
    ),
    Effect.timeoutFail({
      duration: timeoutMs,
      onTimeout: () => new UnixError({ error: new Error(`no answer within ${timeoutMs} ms`) })
    })
  )

/**
 * Listens until the scope closes, which leaves the sockets alone that it accepted: those are their taker's, half-open and
 * unread. Gives where it listens, with the port it got in place of 0. A name stands for all its addresses, `localhost` for
 * both families', at one port. A unix socket is for its owner only.
 *
 * @since 0.1.0
 * @category listening
 */
export const listen = (
  endpoint: LocalEndpoint,
  onConnection: (socket: net.Socket) => void
): Effect.Effect<LocalEndpoint, LocalError, Scope.Scope> =>
  $match(endpoint, {
    Tcp: ({ host, port }) =>
      Listen.addressesOf(host).pipe(
        Effect.mapError(({ cause }) => new LocalError({ action: "listen at", endpoint: format(endpoint), cause })),
        Effect.flatMap((hosts) =>
          Listen.atEach(hosts, port, (address) =>
            Effect.map(listenAt(Tcp(address), onConnection), (server) => server.address() as net.AddressInfo))
        ),
        Effect.map(([{ port }]) =>
          Tcp({ host, port })
        )
      ),
    Udp: (endpoint) => noConnections("listen at", endpoint),
    Unix: (endpoint) => Effect.as(listenAt(endpoint, onConnection), endpoint)
  })

const listenAt = (
  endpoint: Exclude<LocalEndpoint, { readonly _tag: "Udp" }>,
  onConnection: (socket: net.Socket) => void
) =>
  refusePath("listen at", endpoint).pipe(Effect.zipRight(Effect.acquireRelease(
    Effect.async<net.Server, LocalError>((resume) => {
      const server = net.createServer(
        { allowHalfOpen: true, noDelay: true, pauseOnConnect: true },
        (socket) => onConnection(watched(Dial.prepare(socket)))
      )
      // Later, an accept that fails costs a connection, and not the listener.
      server.on(
        "error",
        (cause) => resume(new LocalError({ action: "listen at", endpoint: format(endpoint), cause }))
      )
      const listening = () => resume(Effect.succeed(server))
      if (endpoint._tag === "Tcp") {
        server.listen({ host: endpoint.host, port: endpoint.port }, listening)
      } else {
        bindPrivately(endpoint.path, () => server.listen({ path: endpoint.path }, listening))
      }
    }),
    (server) => Effect.sync(() => server.close())
  )))

/**
 * A {@link LocalEndpoint} as text, as it stands in files and on command lines. Decoding fails with the
 * {@link LocalEndpointError}'s message.
 *
 * @since 0.1.0
 * @category schemas
 */
export const FromString: Schema.Schema<LocalEndpoint, string> = Schema.transformOrFail(
  Schema.String,
  Schema.declare((input): input is LocalEndpoint => $is("Tcp")(input) || $is("Udp")(input) || $is("Unix")(input)),
  {
    strict: true,
    decode: (text, _, ast) => Either.mapLeft(parse(text), (error) => new ParseResult.Type(ast, text, error.message)),
    encode: (endpoint) => ParseResult.succeed(format(endpoint))
  }
).annotations({ identifier: "LocalEndpointFromString", description: "HOST:PORT, udp:HOST:PORT or unix:PATH" })
