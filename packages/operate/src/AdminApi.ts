/**
 * The admin server's HTTP interface, typed: server, client and OpenAPI (`/openapi.json`) come from it. Beside it the
 * server has `/metrics`, `/events` (server-sent) and the page at `/`.
 *
 * @since 0.1.0
 */
import * as HttpApi from "@effect/platform/HttpApi"
import * as HttpApiEndpoint from "@effect/platform/HttpApiEndpoint"
import * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as HttpApiSchema from "@effect/platform/HttpApiSchema"
import * as OpenApi from "@effect/platform/OpenApi"
import * as PageSessions from "@tx3/local-http/PageSessions"
import * as Schema from "effect/Schema"
import { NotFound, Refused } from "./ActionError.js"
import * as ClusterOrder from "./ClusterOrder.js"
import * as LogLevelSwitch from "./LogLevelSwitch.js"
import * as RelayStatus from "./RelayStatus.js"

/**
 * The relay takes no new connections.
 *
 * @since 0.1.0
 * @category errors
 */
export class NotReady extends Schema.TaggedError<NotReady>()(
  "NotReady",
  { message: Schema.String },
  HttpApiSchema.annotations({ status: 503 })
) {}

/**
 * A name of `LogLevelSwitch.levels`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const LogLevel = Schema.Literal(...LogLevelSwitch.names)

const Name = Schema.Struct({
  /** A node's digest, or the first characters of it, at least six. */
  node: Schema.String
})

const Connection = Schema.Struct({ connection: Schema.NonNegativeInt })

const Who = Schema.Struct({
  /** A node's digest, or an address or CIDR range. */
  who: Schema.String
})

const Kicked = Schema.Struct({ kicked: Schema.NonNegativeInt })

/**
 * `GET /healthz` answers as long as the process does. `GET /readyz` fails with status 503 as soon as the relay drains. Neither
 * asks for a token.
 *
 * @since 0.1.0
 * @category groups
 */
export class Health extends HttpApiGroup.make("health", { topLevel: true })
  .add(HttpApiEndpoint.get("healthz", "/healthz").addSuccess(Schema.Struct({ state: Schema.String })))
  .add(HttpApiEndpoint.get("readyz", "/readyz").addSuccess(Schema.Struct({ state: Schema.String })).addError(NotReady))
{}

/**
 * The endpoints that read: `GET /status`, `/control-streams`, `/splices` and `/bans`; and in pieces of 20 rows, for the page,
 * `/page/nodes` and `/page/splices`.
 *
 * @since 0.1.0
 * @category groups
 */
export class Look extends HttpApiGroup.make("look", { topLevel: true })
  .add(HttpApiEndpoint.get("status", "/status").addSuccess(RelayStatus.Status))
  .add(HttpApiEndpoint.get("controlStreams", "/control-streams").addSuccess(Schema.Array(RelayStatus.ControlStream)))
  .add(HttpApiEndpoint.get("splices", "/splices").addSuccess(Schema.Array(RelayStatus.Splice)))
  .add(HttpApiEndpoint.get("bans", "/bans").addSuccess(Schema.Array(RelayStatus.Ban)))
  .add(
    HttpApiEndpoint.get("pageOfNodes", "/page/nodes").setUrlParams(RelayStatus.NodeQuery)
      .addSuccess(RelayStatus.NodeList)
  )
  .add(
    HttpApiEndpoint.get("pageOfSplices", "/page/splices").setUrlParams(RelayStatus.SpliceQuery)
      .addSuccess(RelayStatus.SpliceList)
  )
{}

/**
 * The endpoints that act, each a POST with a JSON body: `/kick/node`, `/kick/splice`, `/ban`, `/unban`, `/everywhere`, `/drain`,
 * `/log-level` and `/reload`.
 *
 * @since 0.1.0
 * @category groups
 */
export class Act extends HttpApiGroup.make("act", { topLevel: true })
  /** Ends a node's control stream and its splices; it may come back. */
  .add(
    HttpApiEndpoint.post("kickNode", "/kick/node").setPayload(Name).addSuccess(Kicked)
      .addError(NotFound, { status: 404 }).addError(Refused, { status: 409 })
  )
  /** Ends a splice. */
  .add(
    HttpApiEndpoint.post("kickSplice", "/kick/splice").setPayload(Connection).addSuccess(Kicked).addError(NotFound, {
      status: 404
    })
  )
  /** Keeps a node or a source out until the relay restarts, and ends what it has. */
  .add(HttpApiEndpoint.post("ban", "/ban").setPayload(Who).addSuccess(Kicked).addError(Refused, { status: 409 }))
  .add(
    HttpApiEndpoint.post("unban", "/unban").setPayload(Who).addSuccess(Schema.Struct({})).addError(NotFound, {
      status: 404
    })
  )
  /** Kicks, bans or unbans at every member of the cluster: what came of it at each, at the one that is asked first. */
  .add(
    HttpApiEndpoint.post("everywhere", "/everywhere").setPayload(ClusterOrder.ClusterOrder)
      .addSuccess(Schema.Struct({ members: Schema.Array(ClusterOrder.AtMember) })).addError(Refused, { status: 409 })
  )
  /** Takes no new connections, lets the splices end, and stops the program. */
  .add(HttpApiEndpoint.post("drain", "/drain").addSuccess(Schema.Struct({ splices: Schema.NonNegativeInt })))
  .add(
    HttpApiEndpoint.post("logLevel", "/log-level").setPayload(Schema.Struct({ level: LogLevel }))
      .addSuccess(Schema.Struct({ level: LogLevel }))
  )
  .add(
    HttpApiEndpoint.post("reload", "/reload").addSuccess(RelayStatus.ReloadReport).addError(Refused, { status: 409 })
  )
{}

/**
 * How a browser is signed in to the page. `POST /page` gives a code, to whom may act; a link to the page has it in its
 * fragment, which no browser sends. `POST /session` takes it from the page, without a token, once and within a minute, and
 * gives a session: what the page bears in place of the token. A session may do all that the token may, but make no codes.
 *
 * @since 0.1.0
 * @category groups
 */
export class SignIn extends HttpApiGroup.make("signIn", { topLevel: true })
  .add(
    HttpApiEndpoint.post("page", "/page").addSuccess(Schema.Struct({
      code: Schema.String,
      expiresInSeconds: Schema.Number,
      /** Where this relay serves the page over TCP, `http://HOST:PORT` each. */
      addresses: Schema.Array(Schema.String)
    }))
  )
  .add(PageSessions.endpoint)
{}

/**
 * Every endpoint with its payload, its answer and its errors, as one value.
 *
 * @since 0.1.0
 * @category api
 */
export class AdminApi extends HttpApi.make("tx3-relay").add(Health).add(Look).add(Act).add(SignIn)
  .annotate(OpenApi.Title, "tx3-relay admin")
  .annotate(OpenApi.Description, "What an operator asks of a running relay, and tells it")
{}
