/**
 * Limits what splices carry, by backpressure: each, all of a node, all of a source, and all together. It gives the relay
 * its `Bandwidth`. A node's or a source's rate is there as long as it has splices, so that memory is bounded by those;
 * a changed setting holds for running splices at once.
 *
 * @since 0.1.0
 */
import type { CertDigest } from "@tx3/protocol/CertDigest"
import type { Source } from "@tx3/protocol/Source"
import type { BandwidthPolicy } from "@tx3/relay/Bandwidth"
import { Bandwidth } from "@tx3/relay/Bandwidth"
import * as Rate from "@tx3/transport/Rate"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { LiveSettings } from "./LiveSettings.js"
import type { Settings } from "./OperatorConfig.js"

/**
 * The relay's `Bandwidth`, from `bandwidthPerSplice`, `bandwidthPerNode`,
 * `bandwidthPerIp` and `bandwidthTotal`.
 *
 * @example
 * ```ts
 * import { BandwidthLimits, LiveSettings, OperatorConfig } from "@tx3/policy"
 * import { Identity } from "@tx3/protocol"
 * import { Access, Relay, RelayEvents } from "@tx3/relay"
 * import { Effect, Layer } from "effect"
 *
 * // Bytes per second.
 * const values = { bind: ["tx3-rst://0.0.0.0:38141"], bandwidthPerIp: 10_000_000, bandwidthTotal: 100_000_000 }
 *
 * const load = Effect.all({
 *   identity: Identity.generate,
 *   settings: OperatorConfig.decode([{ place: (key) => key, values }])
 * })
 *
 * export const relay = Relay.layer.pipe(
 *   Layer.provide([BandwidthLimits.layer, Access.layerOpen, RelayEvents.layerSilent]),
 *   Layer.provide(LiveSettings.layer(load))
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Bandwidth, never, LiveSettings> = Layer.scoped(
  Bandwidth,
  Effect.gen(function*() {
    const live = yield* LiveSettings
    const own = new Set<Rate.Rate>()
    const nodes = new SharedRates<CertDigest>()
    const sources = new SharedRates<Source>()
    const total = Rate.make(undefined)
    /** Splices without rates, which cost nothing; and how each is put under rates. */
    const unlimited = new Set<() => void>()

    const limited = (node: CertDigest, source: Source) => {
      const rate = Rate.make(live.current().bandwidthPerSplice)
      own.add(rate)
      return {
        rates: [rate, nodes.take(node), sources.take(source), total],
        leave: () => {
          own.delete(rate)
          nodes.giveBack(node)
          sources.giveBack(source)
        }
      }
    }

    yield* live.follow((settings) => {
      total.set(settings.bandwidthTotal)
      nodes.set(settings.bandwidthPerNode)
      sources.set(settings.bandwidthPerIp)
      own.forEach((rate) => rate.set(settings.bandwidthPerSplice))
      if (isLimited(settings)) {
        unlimited.forEach((limit) => limit())
        unlimited.clear()
      }
    })

    const join: BandwidthPolicy["join"] = (node, source, limit) => {
      if (isLimited(live.current())) {
        return limited(node, source)
      }
      let leave = (): void => {
        unlimited.delete(limitLater)
      }
      const limitLater = () => {
        const later = limited(node, source)
        leave = later.leave
        limit(later.rates)
      }
      unlimited.add(limitLater)
      return { rates: [], leave: () => leave() }
    }

    return { join }
  })
)

const isLimited = (settings: Settings) =>
  [settings.bandwidthPerSplice, settings.bandwidthPerNode, settings.bandwidthPerIp, settings.bandwidthTotal]
    .some((bytesPerSecond) => bytesPerSecond !== undefined)

/** One rate for each key in use. */
class SharedRates<Key> {
  private readonly rates = new Map<Key, { readonly rate: Rate.Rate; users: number }>()
  private bytesPerSecond: number | undefined

  set(bytesPerSecond: number | undefined) {
    this.bytesPerSecond = bytesPerSecond
    this.rates.forEach(({ rate }) => rate.set(bytesPerSecond))
  }

  take(key: Key): Rate.Rate {
    let shared = this.rates.get(key)
    if (shared === undefined) {
      shared = { rate: Rate.make(this.bytesPerSecond), users: 0 }
      this.rates.set(key, shared)
    }
    shared.users++
    return shared.rate
  }

  giveBack(key: Key) {
    const shared = this.rates.get(key)!
    shared.users--
    if (shared.users === 0) {
      this.rates.delete(key)
    }
  }
}
