/** The exporter to an OTLP collector, by Node's own fetch. A relay whose settings name a collector imports it. */
import * as Otlp from "@effect/opentelemetry/Otlp"
import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import * as Layer from "effect/Layer"

export const layer = (options: Parameters<typeof Otlp.layerJson>[0]): Layer.Layer<never> =>
  Layer.provide(Otlp.layerJson(options), FetchHttpClient.layer)
