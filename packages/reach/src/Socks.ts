/**
 * The exposing end of SOCKS5 (RFC 1928) without authentication: the peer is known by its certificate already. It carries out
 * CONNECT alone, to destinations of a list. A name is resolved here, and what is connected to is an address that was looked up
 * in the list, so no later answer of a name server counts. The local socket belongs to the scope, the connection stays with its own.
 *
 * @since 0.1.0
 */
import type { ConnectionError } from "@tx3/node/NodeError"
import type { Tx3Connection } from "@tx3/node/Tx3Connection"
import * as DeadPeers from "@tx3/sockets/DeadPeers"
import * as Dial from "@tx3/sockets/Dial"
import { Lookup } from "@tx3/sockets/Lookup"
import * as Reset from "@tx3/sockets/Reset"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type * as net from "node:net"
import type { Destinations } from "./Destinations.js"
import { readExactly, type Short } from "./internal/bytes.js"
import * as Local from "./LocalEndpoint.js"
import { LocalError } from "./LocalEndpoint.js"

/**
 * A SOCKS5 proxy, as a service to expose.
 *
 * @since 0.1.0
 * @category models
 */
export class Socks extends Data.TaggedClass("Socks")<{ readonly to: Destinations }> {}

/**
 * The peer does not speak SOCKS5, or asks for what there is not: another command than CONNECT, authentication, an unknown kind of
 * address.
 *
 * @since 0.1.0
 * @category errors
 */
export class NoSocks extends Data.TaggedError("NoSocks") {}

/**
 * The peer asked for a destination none of whose addresses is in the list.
 *
 * @since 0.1.0
 * @category errors
 */
export class Denied extends Schema.TaggedError<Denied>("@tx3/reach/Denied")("Denied", { destination: Schema.String }) {
  override get message(): string {
    return `no address of ${this.destination} is one that peers may connect to`
  }
}

/** How long a peer may take to say where it wants to connect to. */
const requestMs = 10_000

const version = 5

/** Replies of RFC 1928, section 6. */
const reply = {
  succeeded: 0,
  generalFailure: 1,
  notAllowed: 2,
  networkUnreachable: 3,
  hostUnreachable: 4,
  refused: 5,
  commandNotSupported: 7,
  addressTypeNotSupported: 8
} as const

/** What is said of a connection's own address, which is nobody's business. */
const unspecified = [1, 0, 0, 0, 0, 0, 0]

const send = (connection: Tx3Connection, bytes: ReadonlyArray<number>) => connection.write(Uint8Array.from(bytes))

const answer = (connection: Tx3Connection, code: number) => send(connection, [version, code, 0, ...unspecified])

interface Request {
  readonly host: string
  readonly port: number
}

const readRequest = (
  connection: Tx3Connection
): Effect.Effect<Request, ConnectionError | NoSocks | Short> =>
  Effect.gen(function*() {
    const read = (size: number) => readExactly(connection.duplex, size)
    const [greeting, methods] = yield* read(2)
    if (greeting !== version || methods === 0) {
      return yield* new NoSocks()
    }
    if (!(yield* read(methods!)).includes(0)) {
      yield* send(connection, [version, 0xff])
      return yield* new NoSocks()
    }
    yield* send(connection, [version, 0])
    const [again, command, , type] = yield* read(4)
    if (again !== version) {
      return yield* new NoSocks()
    }
    const host = type === 1
      ? Array.from(yield* read(4)).join(".")
      : type === 3
      ? (yield* read((yield* read(1))[0]!)).toString("latin1")
      : type === 4
      ? ((yield* read(16)).toString("hex").match(/.{4}/g)!).join(":")
      : undefined
    if (host === undefined) {
      yield* answer(connection, reply.addressTypeNotSupported)
      return yield* new NoSocks()
    }
    const port = (yield* read(2)).readUInt16BE()
    if (command !== 1) {
      yield* answer(connection, reply.commandNotSupported)
      return yield* new NoSocks()
    }
    return { host, port }
  })

/** What a name may consist of. A numeric address does, too. */
const isHost = (host: string) => /^[\w.:-]{1,253}$/.test(host)

const codes: Record<string, number> = {
  ECONNREFUSED: reply.refused,
  ENETUNREACH: reply.networkUnreachable
}

const codeOf = ({ failures }: Dial.DialError) =>
  codes[(failures[0]?.cause as NodeJS.ErrnoException | undefined)?.code ?? ""] ?? reply.hostUnreachable

/**
 * Takes a peer's request, connects to what it asks for, and tells the peer how that went. Returns the local socket, half-open and
 * unread, for the bytes that follow. When it fails the peer knows, and the connection is to be ended.
 *
 * @since 0.1.0
 * @category running
 */
export const accept = (
  connection: Tx3Connection,
  { to }: Socks,
  timeoutMs: number
): Effect.Effect<net.Socket, ConnectionError | NoSocks | Denied | LocalError, Scope.Scope> =>
  Effect.gen(function*() {
    const { host, port } = yield* readRequest(connection).pipe(
      Effect.timeoutFail({ duration: requestMs, onTimeout: () => new NoSocks() }),
      Effect.catchTag("Short", () => new NoSocks())
    )
    const destination = Local.format(Local.Tcp({ host, port }))
    const unreachable = (code: number, cause: unknown) =>
      Effect.zipRight(
        answer(connection, code),
        new LocalError({ action: "connect to", endpoint: destination, cause })
      )
    if (!isHost(host)) {
      return yield* unreachable(reply.generalFailure, new Error("this is no name"))
    }
    const resolve = yield* Lookup
    const found = yield* Effect.catchAll(resolve(host), ({ cause }) => unreachable(reply.hostUnreachable, cause))
    const allowed = found.filter(({ address }) => to.has(address, port))
    if (allowed.length === 0) {
      yield* answer(connection, reply.notAllowed)
      return yield* new Denied({ destination })
    }
    const { socket } = yield* Dial.connect({ host, port, attemptTimeoutMs: timeoutMs, timeoutMs }).pipe(
      Effect.provideService(Lookup, () => Effect.succeed(allowed)),
      Effect.catchAll((error) => unreachable(codeOf(error), error))
    )
    DeadPeers.watch(socket)
    yield* Effect.addFinalizer(() => Effect.sync(() => Reset.abandon(socket)))
    yield* answer(connection, reply.succeeded)
    return socket
  })
