/**
 * The status that `tx3 up` sends to `tx3 status` over a unix socket: the schemas, the server on top of `LocalHttp`, and the
 * client.
 *
 * @since 0.1.0
 */
import * as HttpApi from "@effect/platform/HttpApi"
import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import * as HttpApiClient from "@effect/platform/HttpApiClient"
import * as HttpApiEndpoint from "@effect/platform/HttpApiEndpoint"
import * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import type * as HttpServerError from "@effect/platform/HttpServerError"
import * as LocalHttp from "@tx3/local-http/LocalHttp"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as UpLog from "./UpLog.js"

/**
 * A registration at a relay, as `RelayRegistration.State` has it: `live`, since when, and why not for
 * long where another machine uses the identity; `connecting` and for the how many-th
 * time, `lost` with the reason and the time of the next try. Times are milliseconds since 1970.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Registration = Schema.Struct({
  relay: Schema.String,
  state: Schema.Union(
    Schema.Struct({ is: Schema.Literal("live"), since: Schema.Number, contested: Schema.NullOr(Schema.String) }),
    Schema.Struct({ is: Schema.Literal("connecting"), attempt: Schema.Int }),
    Schema.Struct({ is: Schema.Literal("lost"), because: Schema.String, nextTryAt: Schema.Number })
  )
})

/**
 * A running connection: who is at its other end, by which name if by any, through which host and port, since when
 * (milliseconds since 1970), and how many bytes it has carried.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Connection = Schema.Struct({
  peer: Schema.String,
  name: Schema.NullOr(Schema.String),
  via: Schema.String,
  since: Schema.Number,
  bytesFromPeer: Schema.Number,
  bytesToPeer: Schema.Number
})

/**
 * Something that is exposed or forwarded, `endpoint` being the local one. An exposed service has its addresses and
 * registrations, and how many peers were refused; something forwarded has the addresses it leads to.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Service = Schema.Struct({
  name: Schema.String,
  kind: Schema.Literal("expose", "forward"),
  endpoint: Schema.String,
  addresses: Schema.Array(Schema.String),
  registrations: Schema.Array(Registration),
  connections: Schema.Array(Connection),
  /** Connections since the start, those that run among them. */
  connected: Schema.Int,
  /** Peers that were refused, and local connections that came to nothing, since the start. */
  failed: Schema.Int
})

/**
 * All of it. Every time is in milliseconds since 1970. A `since` goes by the wall clock as it is set when the status is asked
 * for, so that the difference to the present time is the age.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Status = Schema.Struct({
  version: Schema.String,
  /** The process of `tx3 up`. */
  pid: Schema.Int,
  file: Schema.String,
  since: Schema.Number,
  services: Schema.Array(Service)
})

/**
 * The status of `tx3 up`, as {@link Status} has it.
 *
 * @since 0.1.0
 * @category models
 */
export type Status = typeof Status.Type

/**
 * What loading the file again has changed: services by `expose.NAME` and `forward.NAME`, and settings that only a restart
 * changes.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Reloaded = Schema.Struct({
  kept: Schema.Array(Schema.String),
  started: Schema.Array(Schema.String),
  stopped: Schema.Array(Schema.String),
  needsRestart: Schema.Array(Schema.String)
})

/**
 * What loading the file again has changed, as {@link Reloaded} has it.
 *
 * @since 0.1.0
 * @category models
 */
export type Reloaded = typeof Reloaded.Type

/**
 * The file cannot be loaded again, and why. What was up still is.
 *
 * @since 0.1.0
 * @category errors
 */
export class NotReloaded extends Schema.TaggedError<NotReloaded>("@tx3/reach/NotReloaded")("NotReloaded", {
  message: Schema.String
}) {}

/**
 * A link that signs one browser in to the page, and for how long it can be used.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Link = Schema.Struct({ link: Schema.String, expiresInSeconds: Schema.Number })

/**
 * The page cannot be served, and why.
 *
 * @since 0.1.0
 * @category errors
 */
export class NoPage extends Schema.TaggedError<NoPage>("@tx3/reach/NoPage")("NoPage", {
  message: Schema.String
}) {}

/**
 * A message of `tx3 up`, as `UpLog.Line` has it.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Line = Schema.Struct({ number: Schema.Int, at: Schema.Number, text: Schema.String })

const Api = HttpApi.make("tx3-up").add(
  HttpApiGroup.make("up", { topLevel: true }).add(HttpApiEndpoint.get("status", "/status").addSuccess(Status))
    .add(
      HttpApiEndpoint.get("log", "/log").setUrlParams(Schema.Struct({ after: Schema.NumberFromString }))
        .addSuccess(Schema.Array(Line))
    )
    .add(HttpApiEndpoint.post("reload", "/reload").addSuccess(Reloaded).addError(NotReloaded))
    .add(HttpApiEndpoint.post("page", "/page").addSuccess(Link).addError(NoPage))
)

/**
 * What answers the questions that come to the socket.
 *
 * @since 0.1.0
 * @category models
 */
export interface Answers {
  readonly status: Effect.Effect<Status>
  readonly log: UpLog.UpLog
  readonly reload: Effect.Effect<Reloaded, { readonly message: string }>
  readonly page: Effect.Effect<typeof Link.Type, NoPage>
}

/**
 * Serves the status, the log, the command to load the file again, and links to the page, at a unix socket until the layer's scope
 * closes.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  path: string,
  { log, page, reload, status }: Answers
): Layer.Layer<never, HttpServerError.ServeError> =>
  HttpApiBuilder.serve().pipe(
    Layer.provide(HttpApiBuilder.api(Api)),
    Layer.provide(HttpApiBuilder.group(Api, "up", (handlers) =>
      handlers
        .handle("status", () => status)
        .handle("log", ({ urlParams: { after } }) => Effect.sync(() => log.after(after)))
        .handle("reload", () => Effect.mapError(reload, ({ message }) => new NotReloaded({ message })))
        .handle("page", () => page))),
    Layer.provide(LocalHttp.server(`unix:${path}`))
  )

/**
 * Has the file loaded again that is up at a unix socket.
 *
 * @since 0.1.0
 * @category accessors
 */
export const reload = (path: string) => asked(path, (client) => client.reload())

/**
 * Asks at a unix socket for a link to the page. Fails without an answer within 5 s.
 *
 * @since 0.1.0
 * @category accessors
 */
export const page = (path: string) => asked(path, (client) => client.page()).pipe(inTime)

/**
 * Asks for the status at a unix socket. Fails without an answer within 5 s.
 *
 * @since 0.1.0
 * @category accessors
 */
export const ask = (path: string) => asked(path, (client) => client.status()).pipe(inTime)

/**
 * Asks at a unix socket for the messages with a greater number than this. Fails without an answer within 5 s.
 *
 * @since 0.1.0
 * @category accessors
 */
export const log = (path: string, after: number) =>
  asked(path, (client) => client.log({ urlParams: { after } })).pipe(inTime)

const clientAt = (path: string) => HttpApiClient.make(Api, { baseUrl: LocalHttp.baseUrlOf(`unix:${path}`) })

const asked = <A, E>(
  path: string,
  question: (client: Effect.Effect.Success<ReturnType<typeof clientAt>>) => Effect.Effect<A, E>
) => Effect.flatMap(clientAt(path), question).pipe(Effect.provide(LocalHttp.client(`unix:${path}`)))

class NoAnswer extends Data.TaggedError("NoAnswer")<{ readonly message: string }> {}

const answerMs = 5_000

const inTime = Effect.timeoutFail({
  duration: answerMs,
  onTimeout: () => new NoAnswer({ message: `no answer within ${answerMs} ms` })
})
