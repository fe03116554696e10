/**
 * The file of `tx3 up`: services to expose and to forward to, with their relays, identities and allowlists. Paths in it are
 * relative to its folder.
 *
 * @since 0.1.0
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Path from "@effect/platform/Path"
import { FileError } from "@tx3/files/FileError"
import { inheritedKeyIn } from "@tx3/files/InheritedKey"
import * as Address from "@tx3/protocol/Address"
import { localPath } from "@tx3/sockets/UnixSocket"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import * as Yaml from "yaml"
import * as Destinations from "./Destinations.js"
import * as KnownFile from "./KnownFile.js"
import * as LocalEndpoint from "./LocalEndpoint.js"
import { Socks } from "./Socks.js"

/**
 * A file that cannot be used: which, where in it, what is wrong, and what to do.
 *
 * @since 0.1.0
 * @category errors
 */
export class UpFileError extends Schema.TaggedError<UpFileError>("@tx3/reach/UpFileError")("UpFileError", {
  path: Schema.String,
  problem: Schema.String
}) {
  override get message(): string {
    return `${this.path}: ${this.problem}`
  }
}

/** A text that this can read, kept as the text it is. */
const readable = (parse: (text: string) => Either.Either<unknown, { readonly message: string }>) =>
  Schema.String.pipe(
    Schema.filter((text) => Either.match(parse(text), { onLeft: ({ message }) => message, onRight: () => true }))
  )

const BindAddress = readable((text) =>
  Either.flatMap(
    Address.parse(text),
    (address) => address.scheme === "tx3-st" ? Either.right(address) : Address.parseWithDigest(text)
  )
)

const listOf = (entry: Schema.Schema<string>, what: string) =>
  Schema.NonEmptyArray(entry).annotations({ message: () => `must be a list of ${what}` })

const Relays = listOf(BindAddress, "addresses, of relays or of this machine")

/** An endpoint, or a SOCKS5 proxy whose destinations stand beside it. */
const Service = Schema.transformOrFail(
  Schema.String,
  Schema.declare((input): input is "socks" | LocalEndpoint.LocalEndpoint =>
    input === "socks" || Schema.is(Schema.typeSchema(LocalEndpoint.FromString))(input)
  ),
  {
    strict: true,
    decode: (text, _, ast) =>
      text === "socks"
        ? ParseResult.succeed<"socks" | LocalEndpoint.LocalEndpoint>("socks")
        : Either.mapLeft(LocalEndpoint.parse(text), ({ message }) => new ParseResult.Type(ast, text, message)),
    encode: (service) => ParseResult.succeed(service === "socks" ? service : LocalEndpoint.format(service))
  }
)

/**
 * A service to expose.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Exposed = Schema.Struct({
  /** The service: HOST:PORT, udp:HOST:PORT or unix:PATH; or `socks`, a SOCKS5 proxy. */
  service: Service,
  /** The destinations that peers of a SOCKS5 proxy may connect to, as `Destinations` reads them. */
  to: Schema.optional(Schema.Array(Schema.String)),
  /** The service's identity: a file of `tx3 keygen`. Default: the file's own `identity`. */
  identity: Schema.optional(Schema.String),
  /** Where it is reached, in place of the file's own `relays`. */
  relays: Schema.optional(Relays),
  /** Which peers may connect: digests and names. Without this and `allowFile` every peer may, with `[]` none. */
  allow: Schema.optional(Schema.Array(Schema.String)),
  /** The same in a file, read again when it changes. */
  allowFile: Schema.optional(Schema.String),
  /** Whether a connection that ends without close_notify ends like any other: `NodeConfig.allowTruncated`. */
  allowTruncated: Schema.optional(Schema.Boolean)
})

/**
 * Something to forward to.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Forwarded = Schema.Struct({
  /** The addresses of one node, or its name in the file of names. They are tried with a staggered start. */
  to: listOf(
    readable((text) => KnownFile.isName(text) ? Either.right(text) : Address.parseWithDigest(text)),
    "a node's addresses, or its name"
  ),
  /** Where programs of this machine connect to it: HOST:PORT, udp:HOST:PORT or unix:PATH. */
  listen: LocalEndpoint.FromString,
  /** The identity to connect with. Default: the file's own `identity`, or a new one at each start. */
  identity: Schema.optional(Schema.String),
  /** As for a service. */
  allowTruncated: Schema.optional(Schema.Boolean)
})

const Name = Schema.String.pipe(
  Schema.pattern(/^[\w-]{1,64}$/, { message: () => "is no name; use letters, digits, hyphens and underscores" })
)

/**
 * All that can be in the file.
 *
 * @since 0.1.0
 * @category schemas
 */
export const UpFile = Schema.Struct({
  /** The identity of all services without one of their own: a file of `tx3 keygen`. */
  identity: Schema.optional(Schema.String),
  /** The relays of all services without some of their own: their addresses, or tx3-st:// ones of this machine. */
  relays: Schema.optional(Relays),
  /** The file of names; that of the user by default. */
  known: Schema.optional(Schema.String),
  /** The unix socket that `tx3 status` asks; beside the file, with its name and `.sock`, by default. */
  status: Schema.optional(Schema.String),
  expose: Schema.optionalWith(Schema.Record({ key: Name, value: Exposed }), { default: () => ({}) }),
  forward: Schema.optionalWith(Schema.Record({ key: Name, value: Forwarded }), { default: () => ({}) })
})

/**
 * A file's content, its paths resolved and its defaults filled in.
 *
 * @since 0.1.0
 * @category models
 */
export interface Up {
  readonly path: string
  readonly status: string
  readonly known: Option.Option<string>
  readonly expose: ReadonlyArray<{
    readonly name: string
    readonly service: LocalEndpoint.LocalEndpoint | Socks
    readonly identity: string
    readonly relays: ReadonlyArray<string>
    readonly allow: ReadonlyArray<string> | undefined
    readonly allowFile: Option.Option<string>
    readonly allowTruncated: boolean
  }>
  readonly forward: ReadonlyArray<{
    readonly name: string
    readonly to: readonly [string, ...ReadonlyArray<string>]
    readonly listen: LocalEndpoint.LocalEndpoint
    readonly identity: Option.Option<string>
    readonly allowTruncated: boolean
  }>
}

const decode = Schema.decodeUnknownEither(UpFile, { onExcessProperty: "error" })

/**
 * Reads and checks a file. Identities and lists that it names are read when they are used.
 *
 * @since 0.1.0
 * @category accessors
 */
export const read = (
  path: string
): Effect.Effect<Up, UpFileError | FileError, FileSystem.FileSystem | Path.Path> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const { dirname, resolve } = yield* Path.Path
    const fail = (problem: string) => new UpFileError({ path, problem })
    const text = yield* Effect.mapError(fs.readFileString(path), (error) =>
      error._tag === "SystemError" && error.reason === "NotFound"
        ? fail("there is no such file; tx3 up --init makes one, and --config names another")
        : new FileError({ action: "read", path, cause: error.cause }))
    const document = Yaml.parseDocument(text)
    if (document.errors[0] !== undefined) {
      return yield* fail(`not YAML: ${document.errors[0].message.trimEnd()}`)
    }
    const content = yield* Either.try({
      try: () =>
        document.toJS() ?? {},
      catch: () =>
        fail("not YAML that can be used: it has an alias (*NAME) without its anchor, or too many of them")
    })
    const inherited = inheritedKeyIn(content)
    if (inherited !== undefined) {
      return yield* fail(`${inherited}: ${noSuchSetting([])}`)
    }
    const up = yield* Either.mapLeft(decode(content), (error) => fail(problemIn(error)))

    const at = (file: string) => resolve(dirname(path), file)
    const endpointAt = (endpoint: LocalEndpoint.LocalEndpoint, place: string) =>
      // A resolved path can be too long for a socket.
      LocalEndpoint.$is("Unix")(endpoint)
        ? Either.mapLeft(
          LocalEndpoint.parse(`unix:${at(endpoint.path)}`),
          ({ message }) => fail(`${place}: ${message}`)
        )
        : Either.right(endpoint)
    const serviceAt = ({ allow, allowFile, service, to }: typeof Exposed.Type, place: string) => {
      if (service !== "socks") {
        return to === undefined
          ? endpointAt(service, `${place}.service`)
          : Either.left(fail(`${place}.to: goes with service: socks alone`))
      }
      if (allow === undefined && allowFile === undefined) {
        return Either.left(
          fail(
            `${place}.allow: is missing; a SOCKS5 proxy is never for everyone, so say who may connect here or in allowFile`
          )
        )
      }
      return to === undefined || to.length === 0
        ? Either.left(fail(`${place}.to: is missing; say what may be connected to, as ["192.168.1.0/24:22,80"]`))
        : Either.mapBoth(Destinations.parse(to), {
          onLeft: ({ message }) => fail(`${place}.to: ${message}`),
          onRight: (to) => new Socks({ to })
        })
    }
    const expose = yield* Effect.forEach(Object.entries(up.expose), ([name, exposed]) =>
      Effect.gen(function*() {
        const identity = exposed.identity ?? up.identity
        const relays = exposed.relays ?? up.relays
        if (identity === undefined) {
          return yield* fail(
            `expose.${name}.identity: is missing; make one with tx3 keygen FILE, or the address is new each time`
          )
        }
        if (relays === undefined) {
          return yield* fail(
            `expose.${name}.relays: is missing; say here or for all services which relays to register at`
          )
        }
        return {
          name,
          relays,
          allow: exposed.allow,
          allowTruncated: exposed.allowTruncated ?? false,
          service: yield* serviceAt(exposed, `expose.${name}`),
          identity: at(identity),
          allowFile: Option.map(Option.fromNullable(exposed.allowFile), at)
        }
      }))
    const forward = yield* Effect.forEach(Object.entries(up.forward), ([name, forwarded]) =>
      Effect.map(endpointAt(forwarded.listen, `forward.${name}.listen`), (listen) => ({
        ...forwarded,
        name,
        allowTruncated: forwarded.allowTruncated ?? false,
        listen,
        identity: Option.map(Option.fromNullable(forwarded.identity ?? up.identity), at)
      })))
    const twice = forward.find(({ name }) =>
      expose.some((exposed) =>
        exposed.name === name
      )
    )
    if (twice !== undefined) {
      return yield* fail(`forward.${twice.name}: there is an expose.${twice.name} already; choose another name`)
    }
    if (expose.length + forward.length === 0) {
      return yield* fail("there is nothing in it to expose or to forward")
    }
    return {
      path,
      status: up.status === undefined ? socketOf(path) : at(up.status),
      known: Option.map(Option.fromNullable(up.known), at),
      expose,
      forward
    }
  })

/**
 * The unix socket, or on Windows the named pipe, that a file has where it does not say so itself.
 *
 * @since 0.1.0
 * @category getters
 */
export const socketOf = (path: string): string => localPath(`${path.replace(/\.ya?ml$/, "")}.sock`)

/** Says which settings there are, at the top, or in a service. */
const noSuchSetting = ([section]: ReadonlyArray<PropertyKey>) => {
  const { fields } = section === "expose" ? Exposed : section === "forward" ? Forwarded : UpFile
  return `there is no such setting; there are ${Object.keys(fields).join(", ")}`
}

const problemIn = (error: ParseResult.ParseError) => {
  const issue = ParseResult.ArrayFormatter.formatErrorSync(error)[0]!
  const place = issue.path.map(String).join(".")
  const problem = issue._tag === "Unexpected"
    ? noSuchSetting(issue.path)
    : issue._tag === "Missing"
    ? "is missing"
    : issue.message
  return place === "" ? "must be a mapping with expose or forward in it" : `${place}: ${problem}`
}
