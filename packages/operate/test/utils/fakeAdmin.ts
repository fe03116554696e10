/**
 * An admin server without a relay: the page's own routes, `/events` that says what a test tells it to, lists of the nodes and
 * splices that a test has, and actions that are noted. It is closed with its scope, and streams end with it as they do when a
 * relay stops.
 */
import { HttpLayerRouter, HttpServer, HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { NodeHttpServer } from "@effect/platform-node"
import type { RelayStatus } from "@tx3/operate"
import { AdminPage } from "@tx3/operate"
import { CertDigest, Source } from "@tx3/protocol"
import type { Relay } from "@tx3/relay"
import { RelayError } from "@tx3/relay"
import { Context, Effect, Layer, PubSub, Stream } from "effect"
import { createHash } from "node:crypto"
import { createServer } from "node:http"
import * as Listings from "../../src/internal/listings.js"

export interface History {
  readonly samples: ReadonlyArray<RelayStatus.Sample>
  readonly events: ReadonlyArray<RelayStatus.Event>
}

export interface Now {
  readonly status: RelayStatus.Status
  readonly sample: RelayStatus.Sample
  readonly events: ReadonlyArray<RelayStatus.Event>
}

export interface FakeAdmin {
  readonly port: number
  readonly url: string
  /** Says it to everybody; who comes later hears it after the history. */
  readonly tell: (now: Now) => Effect.Effect<void>
  /** The actions that came, as `/path {"body":…}`. */
  readonly acts: Array<string>
}

/** What lists of a relay are made of. */
export interface Crowd {
  readonly nodes: ReadonlyArray<
    { readonly node: CertDigest.CertDigest; readonly source: Source.Source; readonly since: number }
  >
  /** By the number of their node. */
  readonly splices: ReadonlyArray<{ readonly of: number; readonly source: Source.Source; readonly since: number }>
  readonly bans: ReadonlyArray<RelayStatus.Ban>
}

export const digestOf = (name: string | number) => CertDigest.fromBytes(createHash("sha256").update(`${name}`).digest())

/** The same crowd each time, of nodes of four to an address. */
export const crowd = (nodes: number, splices: number, bans: ReadonlyArray<string> = []): Crowd => ({
  nodes: Array.from({ length: nodes }, (_, i) => ({
    node: digestOf(i),
    source: Source.fromAddress(
      i % 5 === 4 ? `2001:db8:${(i >> 2).toString(16)}::1` : `198.51.${i >> 10}.${(i >> 2) & 255}`
    ),
    since: Date.now() - 1000 * (60 + 97 * i)
  })),
  splices: Array.from({ length: splices }, (_, i) => ({
    of: (i * i) % nodes,
    source: Source.fromAddress(`203.0.${(i >> 8) & 255}.${i & 255}`),
    since: Date.now() - 1000 * (5 + 13 * i)
  })),
  bans: bans.map((who, i) => ({ who, since: Date.now() - 1000 * (60 + 4000 * i) }))
})

/** As much of a relay as its lists need. */
const relayOf = ({ nodes, splices }: Crowd) => {
  const sessions = nodes.map((node, connection) => ({ ...node, connection }))
  const running = splices.map(({ of, ...splice }, i) => ({
    ...splice,
    connection: 100_000 + i,
    node: nodes[of]!.node,
    host: nodes[of]!.source,
    carried: () => ({ fromLeft: 1234 * i, fromRight: 56_789 * (i % 97) })
  }))
  const peers = new Map<CertDigest.CertDigest, number>()
  running.forEach(({ node }) => peers.set(node, (peers.get(node) ?? 0) + 1))
  return {
    controlStreams: () => sessions,
    peers: () => peers,
    splices: () => running
  } as unknown as Relay.Relay["Type"]
}

const message = (name: string, data: unknown) => `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`

export const start = (
  options: {
    readonly history?: History
    readonly now?: Now
    readonly port?: number
    readonly crowd?: Crowd
    /** What every action is answered with in place of a success. */
    readonly refusal?: { readonly status: number; readonly message: string }
  } = {}
) =>
  Effect.gen(function*() {
    const hub = yield* PubSub.unbounded<Now>()
    let latest = options.now

    const events = HttpLayerRouter.add(
      "GET",
      "/events",
      Effect.sync(() => {
        const history = message("history", options.history ?? { samples: [], events: [] })
        const first = latest === undefined ? "" : message("now", latest)
        const later = Stream.map(Stream.fromPubSub(hub), (now) => message("now", now))
        return HttpServerResponse.stream(
          Stream.encodeText(Stream.concat(Stream.make(history + first), later)),
          { contentType: "text/event-stream" }
        )
      })
    )

    const { bans, ...present } = options.crowd ?? { bans: [], nodes: [], splices: [] }
    const relay = relayOf({ bans, ...present })
    const bytes = new Map(present.nodes.map(({ node }, i) => [CertDigest.short(node), i % 7 * 1_000_003]))
    const acts: Array<string> = []
    const listed = (list: (query: Record<string, never>) => unknown) =>
      Effect.map(HttpServerRequest.HttpServerRequest, ({ url }) => {
        const { offset, ...query } = Object.fromEntries(new URL(url, "http://localhost").searchParams)
        return HttpServerResponse.unsafeJson(
          list({ ...query, offset: Number(offset) } as unknown as Record<string, never>)
        )
      })
    const limits = { maxControlStreamsPerIp: 4, maxRelaysPerControl: 64 }
    const act = Effect.gen(function*() {
      const request = yield* HttpServerRequest.HttpServerRequest
      const body = yield* Effect.orDie(request.text)
      acts.push(`${request.url} ${body}`)
      return options.refusal === undefined
        ? HttpServerResponse.unsafeJson({ kicked: 3, splices: 2, ...JSON.parse(body) })
        : HttpServerResponse.unsafeJson({ message: options.refusal.message }, { status: options.refusal.status })
    })
    const lists = Layer.mergeAll(
      HttpLayerRouter.add("GET", "/page/nodes", listed((query) => Listings.nodes(relay, limits, bytes, query))),
      HttpLayerRouter.add("GET", "/page/splices", listed((query) => Listings.splices(relay, query))),
      HttpLayerRouter.add("GET", "/bans", Effect.sync(() => HttpServerResponse.unsafeJson(bans))),
      ...(["/kick/node", "/kick/splice", "/ban", "/unban", "/drain", "/log-level"] as const).map((path) =>
        HttpLayerRouter.add("POST", path, act)
      )
    )

    const server = createServer()
    const context = yield* HttpLayerRouter.serve(Layer.mergeAll(AdminPage.layer, events, lists), {
      disableListenLog: true,
      disableLogger: true
    }).pipe(
      Layer.provideMerge(NodeHttpServer.layer(() => server, { host: "127.0.0.1", port: options.port ?? 0 })),
      Layer.build
    )
    yield* Effect.addFinalizer(() => Effect.sync(() => server.closeAllConnections()))
    const { address } = Context.get(context, HttpServer.HttpServer)
    const port = address._tag === "TcpAddress" ? address.port : 0
    const fake: FakeAdmin = {
      acts,
      port,
      url: `http://127.0.0.1:${port}/`,
      tell: (now) =>
        Effect.suspend(() => {
          latest = now
          return PubSub.publish(hub, now)
        })
    }
    return fake
  }).pipe(Effect.orDie)

/** Of a relay that has done nothing yet. */
export const sample = (changes: Partial<RelayStatus.Sample> = {}): RelayStatus.Sample => ({
  at: Date.now(),
  controlStreams: 0,
  pending: 0,
  splices: 0,
  connections: 0,
  acceptedTotal: 0,
  rejectedTotal: 0,
  splicesTotal: 0,
  bytesFromPeersTotal: 0,
  bytesFromNodesTotal: 0,
  ...changes
})

const noRates = { seconds: 0, accepted: 0, rejected: 0, splices: 0, bytesFromPeers: 0, bytesFromNodes: 0 }

const zeros = <Key extends string>(keys: ReadonlyArray<Key>) =>
  Object.fromEntries(keys.map((key) => [key, 0])) as Record<Key, number>

/** Of the same relay. */
export const status = (changes: Partial<RelayStatus.Status> = {}): RelayStatus.Status => ({
  version: "0.1.0",
  startedAt: Date.now() - 1000,
  uptimeSeconds: 1,
  state: "listening",
  digest: "1QcFGPwYeiJyjqVeuDYTZoCRjvFBD_e9gbWLhDBkdrI",
  addresses: ["tx3-rst://192.0.2.2:38141/1QcFGPwYeiJyjqVeuDYTZoCRjvFBD_e9gbWLhDBkdrI"],
  bound: ["tx3-rst://192.0.2.2:38141/1QcFGPwYeiJyjqVeuDYTZoCRjvFBD_e9gbWLhDBkdrI"],
  transport: "kernel",
  logLevel: "INFO",
  connections: { preamble: 0, handshake: 0, control: 0, pending: 0, spliced: 0, forwarded: 0 },
  splices: 0,
  totals: {
    accepted: 0,
    acceptErrors: 0,
    rejections: zeros(RelayError.rejectionReasons),
    controlStreams: 0,
    controlStreamsEnded: { closed: 0, spoke: 0, stalled: 0, unresponsive: 0, replaced: 0, kicked: 0, shutdown: 0 },
    unclaimedTokens: 0,
    splices: 0,
    bytesFromPeers: 0,
    bytesFromNodes: 0
  },
  limits: [
    { name: "maxInboundConnections", used: 0, limit: 20480, unit: "count" },
    { name: "maxControlStreams", used: 0, limit: 320, unit: "count" }
  ],
  rates: { last10s: noRates, last1m: noRates, last15m: noRates },
  top: { nodes: { bySplices: [], byBytes: [] }, sources: { bySplices: [], byBytes: [] } },
  cluster: null,
  suspectedProxy: null,
  eventLoopLagSeconds: 0.0012,
  residentBytes: 84_000_000,
  ...changes
})

/** A relay that has been busy for a quarter of an hour, restarted meanwhile. */
export const busy = (() => {
  const seconds = 900
  const restart = 240
  const end = Math.floor(Date.now() / 1000) * 1000
  const startedAt = end - (seconds - restart) * 1000
  const samples: Array<RelayStatus.Sample> = []
  const wave = (second: number, period: number) => 0.5 + 0.5 * Math.sin(second / period)
  // the same numbers each time, so that screenshots can be compared
  let seed = 7
  const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647
  let totals = sample()
  for (let second = 0; second <= seconds; second++) {
    if (second === restart) {
      totals = sample()
    }
    const warm = second < restart ? 1 : Math.min(1, (second - restart) / 90)
    const splices = Math.round(warm * (22 + 18 * wave(second, 70) + 3 * random()))
    const burst = second > 610 && second < 640 ? 25 : 0
    totals = {
      ...totals,
      at: end - (seconds - second) * 1000,
      controlStreams: Math.round(warm * (48 + 4 * wave(second, 200))),
      pending: Math.round(warm * 3 * random()),
      splices,
      connections: splices * 2 + 52,
      acceptedTotal: totals.acceptedTotal + 3,
      rejectedTotal: totals.rejectedTotal + Math.floor(1.4 * random()) + Math.round(burst * random()),
      splicesTotal: totals.splicesTotal + Math.round(2 * random()),
      bytesFromPeersTotal: totals.bytesFromPeersTotal + Math.round(splices * (30_000 + 22_000 * random())),
      bytesFromNodesTotal: totals.bytesFromNodesTotal +
        Math.round(splices * (110_000 + 90_000 * random() * wave(second, 25)))
    }
    samples.push(totals)
  }
  const nodes = ["1QcFGPwY", "h_9xTqLm", "Zb7-kPw2", "uDYTZoCR", "9gbWLhDB"]
  const sources = ["198.51.100.7", "203.0.113.25", "2001:db8:1:2::/64", "192.0.2.77"]
  const talkers = (names: ReadonlyArray<string>) => {
    const all = names.map((name, index) => ({ name, splices: 14 - 3 * index, bytes: 10 ** 9 / (names.length - index) }))
    return { bySplices: all, byBytes: Array.from(all).reverse() }
  }
  const last = samples.at(-1)!
  const kinds = ["node", "splice", "splice", "rejection", "operator", "splice", "rejection", "node"] as const
  const texts = {
    node: "node uDYTZoCR registered from 203.0.113.25",
    splice: "198.51.100.7 with node 1QcFGPwY: both sides were done, after 12 s and 4.19 MB",
    rejection: "203.0.113.25: this address has reached its limit of 4 nodes",
    operator: "log level set to debug"
  }
  const now: Now = {
    sample: last,
    events: [],
    status: status({
      startedAt,
      uptimeSeconds: seconds - restart,
      addresses: [
        "tx3-rst://192.0.2.2:38141/1QcFGPwYeiJyjqVeuDYTZoCRjvFBD_e9gbWLhDBkdrI",
        "tx3-rst://[2001:db8::2]:38141/1QcFGPwYeiJyjqVeuDYTZoCRjvFBD_e9gbWLhDBkdrI"
      ],
      connections: {
        preamble: 1,
        handshake: 1,
        control: last.controlStreams,
        pending: last.pending,
        spliced: last.splices * 2,
        forwarded: 0
      },
      splices: last.splices,
      totals: {
        ...status().totals,
        accepted: last.acceptedTotal,
        controlStreams: 61,
        controlStreamsEnded: { closed: 9, spoke: 0, stalled: 2, unresponsive: 0, replaced: 1, kicked: 0, shutdown: 0 },
        rejections: {
          ...status().totals.rejections,
          maxInboundPerIp: last.rejectedTotal - 31,
          unknownPreamble: 22,
          hungUp: 9
        },
        splices: last.splicesTotal,
        bytesFromPeers: last.bytesFromPeersTotal,
        bytesFromNodes: last.bytesFromNodesTotal
      },
      limits: [
        { name: "maxInboundConnections", used: 1311, limit: 20480, unit: "count" },
        { name: "descriptors", used: 1311, limit: 1024 * 1024, unit: "count" },
        { name: "maxControlStreams", used: 48, limit: 320, unit: "count" },
        { name: "maxHandshakes", used: 1, limit: 64, unit: "count" },
        { name: "maxRelaysPerControl", used: 52, limit: 64, unit: "count" },
        { name: "bandwidthTotal", used: 4_700_000, limit: 5_000_000, unit: "bytesPerSecond" },
        { name: "monthlyBytesHard", used: 612e9, limit: 2e12, unit: "bytes" }
      ],
      top: { nodes: talkers(nodes), sources: talkers(sources) }
    })
  }
  const events = Array.from({ length: 24 }, (_, index): RelayStatus.Event => {
    const kind = kinds[index % kinds.length]!
    return { at: end - (24 - index) * 17_000, kind, text: texts[kind] }
  })
  return { history: { samples, events }, now }
})()
