/**
 * The admin server's typed client, over TCP or a unix socket. It keeps its connections until its scope closes.
 *
 * @since 0.1.0
 */
import * as HttpApiClient from "@effect/platform/HttpApiClient"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as LocalHttp from "@tx3/local-http/LocalHttp"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { AdminApi } from "./AdminApi.js"

/**
 * The admin server did not answer, or not as one does: nothing is known of whether it did what it was told.
 *
 * @since 0.1.0
 * @category errors
 */
export class AdminUnreachable extends Data.TaggedError("AdminUnreachable")<{
  readonly address: string
  readonly problem: string
}> {
  override get message() {
    return `no answer from the admin server at ${this.address}: ${this.problem}`
  }
}

/**
 * Where the admin server is, and the `adminToken` of the relay where it has one.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** `http://HOST:PORT` or `unix:PATH`. */
  readonly address: string
  readonly token?: Redacted.Redacted<string> | undefined
}

/**
 * A client with one function for each endpoint of `AdminApi`, under its name. A function fails with the endpoint's own
 * errors, and with those of an HTTP client where no proper answer came.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = ({ address, token }: Options) =>
  Effect.flatMap(Layer.build(LocalHttp.client(address)), (context) =>
    HttpApiClient.make(AdminApi, {
      baseUrl: LocalHttp.baseUrlOf(address),
      transformClient: token === undefined
        ? identity
        : HttpClient.mapRequest(HttpClientRequest.bearerToken(Redacted.value(token)))
    }).pipe(Effect.provide(context)))

/**
 * A client, as {@link make} makes it.
 *
 * @since 0.1.0
 * @category models
 */
export type AdminClient = Effect.Effect.Success<ReturnType<typeof make>>
