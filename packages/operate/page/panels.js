// Everything beside the charts: who the relay is, its limits, who uses it most, and what happened.
import { ban } from "./actions.js"
import { byId, copyButton, element, setEmpty, setText, showPairs, updateKeyed, updateList } from "./elements.js"
import * as format from "./format.js"
import { words } from "./words.js"

const sum = (counts) => Object.values(counts).reduce((total, count) => total + count, 0)

/** The largest counts first, in words. */
const inWords = (counts, words = {}) =>
  Object.entries(counts).filter(([, count]) => count > 0).sort(([, a], [, b]) => b - a)
    .map(([name, count]) => `${words[name] ?? name} ${format.count(count)}`).join(", ")

const makeName = () => {
  const text = element("code", {})
  return element("div", {}, element("dt", {}), element("dd", {}, text, copyButton(() => text.textContent)))
}

const updateName = (row, [name, value]) => {
  setText(row.querySelector("dt"), name)
  setText(row.querySelector("code"), value)
  setText(row.querySelector("button").lastElementChild, ` ${name.toLowerCase()} ${value}`)
}

const clusterFacts = ({ cluster, connections }) => {
  const { isConnected, lookUpSeconds, lookUps } = cluster
  const all = sum(lookUps)
  return [
    ["NATS", isConnected ? "connected" : "away: only local nodes and peers are served"],
    ["Forwarded", `${format.count(connections.forwarded)} now, ${format.count(cluster.forwarded)} in all`],
    ["Received", `${format.count(cluster.received)} from other members`],
    [
      "Look-ups",
      all === 0 ? "none" : `${inWords(lookUps)}; ${(lookUpSeconds * 1000 / all).toFixed(1)} ms on average`
    ]
  ]
}

const makeMember = () =>
  element("tr", {}, element("th", { scope: "row" }), ...Array.from({ length: 4 }, () => element("td", {})))

const place = ({ host, port }) => host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`

const updateMember = (row, { link, name, roundTrip, state, version }) => {
  const texts = [name, state, version, place(link), roundTrip]
  texts.forEach((text, index) => setText(row.children[index], text))
  row.className = state
}

/** This member first, then the others. */
export const showCluster = (status) => {
  const { cluster } = status
  byId("cluster").hidden = cluster === null
  if (cluster === null) {
    return
  }
  showPairs(byId("cluster-facts"), clusterFacts(status))
  const others = cluster.members.map((member) => ({
    ...member,
    roundTrip: member.roundTripMs === null ? "no answer" : `${member.roundTripMs.toFixed(1)} ms`
  }))
  const { link, name } = cluster
  const self = { link, name, roundTrip: "this member", state: status.state, version: status.version }
  updateList(byId("members"), [self, ...others], makeMember, updateMember)
  setEmpty(
    "members",
    others.length > 0 ? "" : cluster.isConnected ? "No other members" : "Other members are unknown while NATS is away"
  )
}

export const showRelay = (status) => {
  showPairs(byId("facts"), [
    ["Version", status.version],
    ["Up", format.duration(status.uptimeSeconds)],
    ["Since", format.moment(status.startedAt, Date.now())],
    ["Transport", status.transport],
    ["Connections", format.count(sum(status.connections))],
    ["Memory", format.bytes(status.residentBytes)],
    ["Event loop lag", `${format.count(status.eventLoopLagSeconds * 1000)} ms`]
  ])
  updateList(
    byId("names"),
    [
      ["Digest", status.digest],
      ...status.addresses.map((address) => ["Address", address])
    ],
    makeName,
    updateName
  )
}

/** What each chart adds up to since the relay started, in their order. */
export const totals = ({ connections, totals }) => {
  const rejected = sum(totals.rejections)
  const ended = inWords(totals.controlStreamsEnded, words.ends)
  return [
    `${format.bytes(totals.bytesFromPeers)} from peers and ${
      format.bytes(totals.bytesFromNodes)
    } from nodes since the start`,
    `${format.count(totals.splices)} since the start` +
    (totals.unclaimedTokens > 0 ? `, ${format.count(totals.unclaimedTokens)} never claimed` : ""),
    `${format.count(totals.controlStreams)} since the start${ended === "" ? "" : `; ended: ${ended}`}` +
    (connections.handshake > 0 ? `; ${format.count(connections.handshake)} in handshake` : ""),
    `${format.count(rejected)} of ${format.count(totals.accepted)} since the start` +
    (rejected > 0 ? `: ${inWords(totals.rejections, words.rejections)}` : "")
  ]
}

const units = { count: format.count, bytes: format.bytes, bytesPerSecond: format.bytesPerSecond }

/** From which share a limit is near, and what is said then. */
const levels = [[1, "full", "full"], [0.9, "full", "nearly full"], [0.75, "near", "close"], [0, "fine", ""]]

const shareOf = ({ limit, used }) => typeof limit === "number" && Number.isFinite(limit) && limit > 0 ? used / limit : 0

/** From which share on a limit is shown, and not folded away. */
const shownFrom = 1 / 3

const makeLimit = () =>
  element(
    "li",
    {},
    element("span", { class: "what" }),
    element("span", { class: "use" }),
    element("code", { class: "name" }),
    element("div", { class: "bar", role: "meter" }, element("div", {})),
    element("span", { class: "warning" })
  )

const updateLimit = (row, { limit, name, unit, used }) => {
  const bounded = typeof limit === "number" && Number.isFinite(limit)
  const share = shareOf({ limit, used })
  const [, level, said] = levels.find(([from]) => share >= from)
  const text = units[unit] ?? format.count
  const [what, use, nameText, bar, warning] = row.children
  row.className = level
  setText(what, words.limits[name] ?? "")
  setText(nameText, name)
  setText(warning, said === "" ? "" : `▲ ${said}, ${format.percent(share)}`)
  setText(use, `${text(used)} of ${bounded ? text(limit) : "unlimited"}`)
  bar.setAttribute("aria-label", words.limits[name] ?? name)
  bar.setAttribute("aria-valuemin", "0")
  bar.setAttribute("aria-valuemax", "100")
  bar.setAttribute("aria-valuenow", String(Math.min(100, Math.floor(share * 100))))
  bar.setAttribute("aria-valuetext", [use.textContent, ...said === "" ? [] : [said]].join(", "))
  // what is used a little is seen to be used
  bar.firstElementChild.style.width = used > 0 && bounded ? `max(2px, ${Math.min(100, share * 100)}%)` : "0"
}

export const showLimits = ({ limits }) => {
  const [above, below] = [true, false].map((isAbove) =>
    limits.filter((limit) => (shareOf(limit) >= shownFrom) === isAbove).sort((a, b) => shareOf(b) - shareOf(a))
  )
  updateList(byId("limits"), above, makeLimit, updateLimit)
  updateList(byId("limits-below"), below, makeLimit, updateLimit)
  byId("more-limits").hidden = below.length === 0
  setText(
    byId("more-limits-title"),
    `${format.count(below.length)} ${above.length === 0 ? "" : "more "}${
      below.length === 1 ? "limit" : "limits"
    }, less than a third used`
  )
  setEmpty("limits", limits.length === 0 ? "No limits are set" : "")
}

const makeSource = () => {
  const act = element("button", { type: "button" }, "Ban")
  const row = element(
    "tr",
    {},
    element("th", { scope: "row" }),
    element("td", { "data-label": "Splices" }),
    element("td", { "data-label": "15 min" }),
    element("td", { class: "acts" }, act)
  )
  act.addEventListener("click", () => ban(row.source))
  return row
}

const updateSource = (row, { bytes, name, splices }) => {
  row.source = name
  setText(row.children[0], name)
  setText(row.children[1], format.count(splices))
  setText(row.children[2], format.bytes(bytes))
  row.lastElementChild.firstElementChild.setAttribute("aria-label", `Ban ${name}`)
}

/** The addresses with most splices, or with most bytes. */
export const showTop = ({ top }, order) => {
  const sources = top.sources[order]
  updateKeyed(byId("sources"), sources, ({ name }) => name, makeSource, updateSource)
  byId("sources").parentElement.hidden = sources.length === 0
  setEmpty("sources", sources.length === 0 ? "No peer has come to a node yet" : "")
}

const mostEvents = 100

const keyOf = ({ at, kind, text }) => `${at} ${kind} ${text}`

const makeEvent = () =>
  element("li", {}, element("time", {}), element("span", { class: "kind" }), element("span", { class: "text" }))

/** The events this page knows of, those of earlier runs included. */
export const makeEvents = () => {
  /** Oldest first. */
  let events = []
  let shown

  const updateEvent = (row, { at, kind, text }) => {
    const [time, label, said] = row.children
    row.dataset.kind = kind
    time.dateTime = new Date(at).toISOString()
    time.title = format.date(at)
    setText(time, format.moment(at, Date.now()))
    setText(label, kind)
    setText(said, text)
  }

  return {
    /** What the relay remembers goes in place of what is known of the same time. */
    replace: (latest) => {
      const first = latest[0]?.at ?? Infinity
      events = [...events.filter(({ at, kind }) => at < first || kind === "restart"), ...latest]
    },
    /** What came while the connection began comes twice. */
    add: (latest) => {
      const known = new Set(events.map(keyOf))
      const unknown = latest.filter((event) => !known.has(keyOf(event)))
      if (unknown.length > 0) {
        events = [...events, ...unknown]
      }
    },
    show: () => {
      if (shown === events) {
        return
      }
      events = events.toSorted((a, b) => a.at - b.at).slice(-mostEvents)
      shown = events
      updateList(byId("events"), events.toReversed(), makeEvent, updateEvent)
      byId("events").hidden = events.length === 0
      setEmpty("events", events.length === 0 ? "No events yet" : "")
    }
  }
}
