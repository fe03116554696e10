/** The nodes and splices of a relay in pieces, for a page that cannot show ten thousand rows at a time. It owns nothing. */
import * as CertDigest from "@tx3/protocol/CertDigest"
import type * as Relay from "@tx3/relay/Relay"
import type { NodeList, NodeQuery, SpliceList, SpliceQuery } from "../RelayStatus.js"

type RelayService = Relay.Relay["Type"]

/** Rows in a piece. */
export const rowsMax = 20

interface Row {
  readonly connection: number
  readonly since: number
}

type Order<A> = (a: A, b: A) => number

const newest: Order<Row> = (a, b) => b.since - a.since || b.connection - a.connection

const oldest: Order<Row> = (a, b) => newest(b, a)

const most = <A extends Row>(of: (row: A) => number): Order<A> => (a, b) => of(b) - of(a) || newest(a, b)

/** One piece of the rows that match. An offset behind the last of them gives the last piece. */
const piece = <A, B>(
  all: ReadonlyArray<A>,
  query: {
    readonly search: string
    readonly offset: number
    readonly texts: (item: A) => ReadonlyArray<string>
    readonly order: Order<A>
    readonly row: (item: A) => B
  }
) => {
  const search = query.search.trim().toLowerCase()
  const found = search === ""
    ? Array.from(all)
    : all.filter((item) => query.texts(item).some((text) => text.toLowerCase().includes(search)))
  const last = Math.max(0, Math.ceil(found.length / rowsMax) - 1) * rowsMax
  const offset = Math.min(query.offset, last)
  return {
    total: all.length,
    found: found.length,
    offset,
    rows: found.sort(query.order).slice(offset, offset + rowsMax).map(query.row)
  }
}

const counted = <A>(names: Iterable<A>) => {
  const counts = new Map<A, number>()
  for (const name of names) {
    counts.set(name, (counts.get(name) ?? 0) + 1)
  }
  return counts
}

/** `bytes` are those of each node in the last 15 minutes, by the short form of its digest. */
export const nodes = (
  relay: RelayService,
  limits: { readonly maxControlStreamsPerIp: number; readonly maxRelaysPerControl: number },
  bytes: ReadonlyMap<string, number>,
  { offset = 0, search = "", sort = "bytes" }: NodeQuery
): NodeList => {
  const all = Array.from(relay.controlStreams())
  const splices = counted(Array.from(relay.splices(), ({ node }) => node))
  const ofSource = counted(all.map(({ source }) => source))
  const peers = relay.peers()
  const of = <Key>(counts: ReadonlyMap<Key, number>, key: Key) => counts.get(key) ?? 0
  const bytesOf = ({ node }: typeof all[number]) => of(bytes, CertDigest.short(node))
  const orders = {
    bytes: most(bytesOf),
    splices: most(({ node }: typeof all[number]) => of(splices, node)),
    source: most(({ source }: typeof all[number]) => of(ofSource, source)),
    newest,
    oldest
  }
  return {
    peersMax: limits.maxRelaysPerControl,
    nodesOfSourceMax: limits.maxControlStreamsPerIp,
    ...piece(all, {
      search,
      offset,
      texts: ({ node, source }) => [node, source],
      order: orders[sort],
      row: (session) => ({
        node: session.node,
        source: session.source,
        connection: session.connection,
        since: session.since,
        splices: of(splices, session.node),
        peers: of(peers, session.node),
        nodesOfSource: of(ofSource, session.source),
        bytes: bytesOf(session)
      })
    })
  }
}

export const splices = (relay: RelayService, { offset = 0, search = "", sort = "bytes" }: SpliceQuery): SpliceList => {
  const all = Array.from(relay.splices())
  const bytes = sort === "bytes"
    ? new Map(all.map((splice) => {
      const { fromLeft, fromRight } = splice.carried()
      return [splice, fromLeft + fromRight]
    }))
    : new Map()
  return piece(all, {
    search,
    offset,
    texts: ({ host, node, source }) => [node, source, host],
    order: { bytes: most((splice: typeof all[number]) => bytes.get(splice) ?? 0), newest, oldest }[sort],
    row: (splice) => {
      const { fromLeft, fromRight } = splice.carried()
      return {
        connection: splice.connection,
        node: splice.node,
        source: splice.source,
        nodeSource: splice.host,
        since: splice.since,
        bytesFromPeer: fromLeft,
        bytesFromNode: fromRight
      }
    }
  })
}
