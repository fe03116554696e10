import * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
export const paths: ReadonlySet<string> = new Set(["/"])
export const layer = HttpLayerRouter.add("GET", "/", HttpServerResponse.text("stub"))
