/**
 * An API of notes, which the server implements and from which the client is derived. All of it is for known peers only.
 */
import { HttpApi, HttpApiEndpoint, HttpApiGroup, HttpApiMiddleware, HttpApiSchema } from "@effect/platform"
import { Context, Schema } from "effect"

/** Who sends the request. */
export class Peer extends Context.Tag("examples/http-api/Peer")<Peer, { readonly digest: string }>() {}

export class Forbidden extends Schema.TaggedError<Forbidden>()(
  "Forbidden",
  { digest: Schema.NullOr(Schema.String) },
  HttpApiSchema.annotations({ status: 403 })
) {}

/** Gives an endpoint its `Peer`, or answers in its place. */
export class Authorization extends HttpApiMiddleware.Tag<Authorization>()("examples/http-api/Authorization", {
  failure: Forbidden,
  provides: Peer
}) {}

const Note = Schema.Struct({ by: Schema.String, text: Schema.String })

const EventStream = HttpApiSchema.Text({ contentType: "text/event-stream" })

export const Notes = HttpApi.make("notes").add(
  HttpApiGroup.make("notes")
    .add(HttpApiEndpoint.post("add", "/notes").setPayload(Schema.Struct({ text: Schema.String })).addSuccess(Note))
    .add(HttpApiEndpoint.get("events", "/events").addSuccess(EventStream))
    .middleware(Authorization)
)
