/** Prometheus' text format of Effect's metrics, by OpenTelemetry. The first scrape imports it. */
import * as Metrics from "@effect/opentelemetry/Metrics"
import * as Resource from "@effect/opentelemetry/Resource"
import { PrometheusSerializer } from "@opentelemetry/exporter-prometheus"
import type { ResourceMetrics } from "@opentelemetry/sdk-metrics"
import * as Effect from "effect/Effect"

/** Returns what serializes the relay's metrics as they are when it runs. */
export const make = (resource: { readonly serviceName: string; readonly serviceVersion: string }) =>
  Effect.map(Metrics.makeProducer, (producer) => {
    const serializer = new PrometheusSerializer(undefined, false, undefined, false, true)
    return Effect.map(
      Effect.promise(() => producer.collect()),
      ({ resourceMetrics }) => serializer.serialize(ownMetrics(resourceMetrics))
    )
  }).pipe(Effect.provide(Resource.layer(resource)))

/** Without those that Effect's runtime keeps of its fibers. */
const ownMetrics = ({ resource, scopeMetrics }: ResourceMetrics): ResourceMetrics => ({
  resource,
  scopeMetrics: scopeMetrics.map(({ metrics, scope }) => ({
    scope,
    metrics: metrics.filter(({ descriptor }) => descriptor.name.startsWith("tx3_relay_"))
  }))
})
