// What tx3 up does: its services with their addresses, who is connected, and what it has told.
import { deny, fileName, nameOf } from "./access.js"
import { byId, copyButton, element, setEmpty, setText, showPairs, updateKeyed, updateList } from "./elements.js"
import * as format from "./format.js"
import { showQr } from "./qr.js"

const ago = (since, now) => format.duration((now - since) / 1000)

export const showFacts = ({ at, file, pid, since, version }) =>
  showPairs(byId("facts"), [
    ["Version", version],
    ["Up", ago(since, at)],
    ["Since", format.moment(since, Date.now())],
    ["File", fileName(file)],
    ["Process", String(pid)]
  ])

/** Where a relay is, without its digest. */
const hostOf = (relay) => relay.replace(/^[\w-]+:\/\//, "").replace(/\/.*$/, "")

const stateOf = ({ relay, state }, now) => {
  const at = hostOf(relay)
  if (state.is === "live") {
    return state.contested === null
      ? ["live", `Registered at ${at} for ${ago(state.since, now)}`]
      : ["lost", `Registered at ${at}, and not for long: ${state.contested}`]
  }
  return state.is === "connecting"
    ? ["connecting", `Connecting to ${at}${state.attempt > 1 ? `, try ${format.count(state.attempt)}` : ""}`]
    : [
      "lost",
      `Not registered at ${at}; next try in ${format.duration((state.nextTryAt - now) / 1000)}: ${state.because}`
    ]
}

/** The states of a service's registrations, each with its class and its words. */
const statesOf = ({ kind, registrations }, now) =>
  kind === "forward"
    ? [["live", "Takes connections of this machine"]]
    : registrations.length === 0
    ? [["live", "Reachable at its own address, without a relay"]]
    : registrations.map((registration) => stateOf(registration, now))

const makeState = () => element("li", {})

const updateState = (row, [level, text]) => {
  row.className = level
  setText(row, text)
}

const makeAddress = () => {
  const text = element("code", {})
  const qr = element("button", { type: "button", class: "copy" }, "QR code")
  const row = element("div", {}, element("dt", {}), element("dd", {}, text, copyButton(() => text.textContent), qr))
  qr.addEventListener("click", () => showQr(row.heading, text.textContent))
  return row
}

const updateAddress = (row, { address, kind, name }) => {
  const [term, definition] = row.children
  const [text, copy, qr] = definition.children
  row.heading = kind === "expose" ? `Address of ${name}` : `Where ${name} leads`
  setText(term, kind === "expose" ? "Address" : "Leads to")
  setText(text, address)
  setText(copy.lastElementChild, ` address ${address}`)
  qr.setAttribute("aria-label", `QR code of address ${address}`)
}

const makeService = () =>
  element(
    "li",
    {},
    element("div", { class: "line" }, element("h3", {}), element("p", {}), element("p", { class: "counts" })),
    element("ul", { class: "states" }),
    element("dl", { class: "names" })
  )

const counted = (count, one, several) => `${format.count(count)} ${count === 1 ? one : several}`

const updateService = (row, service, now) => {
  const [line, states, addresses] = row.children
  const [heading, what, counts] = line.children
  const { connected, connections, endpoint, failed, kind, name } = service
  setText(heading, name)
  setText(what, kind === "expose" ? `exposes ${endpoint}` : `forwards ${endpoint}`)
  setText(
    counts,
    `${counted(connections.length, "connection", "connections")} now, ${format.count(connected)} since the start, ` +
      `${format.count(failed)} refused or failed`
  )
  updateList(states, statesOf(service, now), makeState, updateState)
  updateList(
    addresses,
    service.addresses.map((address) => ({ address, kind, name })),
    makeAddress,
    updateAddress
  )
}

export const showServices = ({ at, services }) => {
  updateKeyed(
    byId("services"),
    services,
    ({ kind, name }) => `${kind} ${name}`,
    makeService,
    (row, service) => updateService(row, service, at)
  )
  setEmpty("services", services.length === 0 ? "There are no services in the file" : "")
}

const cell = (label) => element("td", { "data-label": label })

const makeConnection = () => {
  const act = element("button", { type: "button" }, "Deny")
  const row = element(
    "tr",
    {},
    element("th", { scope: "row" }),
    element("td", { class: "words", "data-label": "Service" }),
    element("td", { class: "words source", "data-label": "Via" }),
    cell("For"),
    cell("From peer"),
    cell("To peer"),
    element("td", { class: "acts" }, act)
  )
  act.addEventListener("click", () => deny(row.connection))
  return row
}

const updateConnection = (row, { connection, service }, { at, file }) => {
  const [peer, name, via, since, fromPeer, toPeer, acts] = row.children
  const entry = service.allowed?.find(({ peer }) => peer === connection.peer)
  row.connection = { ...connection, service: service.name, file: entry?.file ?? file }
  setText(peer, nameOf(connection))
  peer.title = connection.peer
  setText(name, service.name)
  setText(via, connection.via)
  setText(since, ago(connection.since, at))
  since.title = format.date(connection.since)
  setText(fromPeer, format.bytes(connection.bytesFromPeer))
  setText(toPeer, format.bytes(connection.bytesToPeer))
  // An open service has no list to take a peer from, and neither has what is forwarded.
  const [act] = acts.children
  act.hidden = service.allowed === null
  act.setAttribute("aria-label", `Deny ${nameOf(connection)} at ${service.name}`)
}

export const showConnections = (status) => {
  const connections = status.services.flatMap((service) => {
    const seen = new Map()
    return service.connections.map((connection) => {
      const before = seen.get(connection.peer) ?? 0
      seen.set(connection.peer, before + 1)
      return { connection, service, key: `${service.name} ${connection.peer} ${before}` }
    })
  })
  updateKeyed(
    byId("connections"),
    connections,
    ({ key }) => key,
    makeConnection,
    (row, item) => updateConnection(row, item, status)
  )
  byId("connections").parentElement.hidden = connections.length === 0
  setEmpty("connections", connections.length === 0 ? "No connection is open" : "")
}

const messagesMax = 50

/** The last messages, the newest first. */
export const makeMessages = () => {
  let messages = []

  const makeMessage = () => element("li", {}, element("time", {}), element("span", { class: "text" }))

  const updateMessage = (row, { at, text }) => {
    const [time, said] = row.children
    time.dateTime = new Date(at).toISOString()
    time.title = format.date(at)
    setText(time, format.moment(at, Date.now()))
    setText(said, text)
  }

  return {
    /** The number of the newest one. */
    last: () => messages.at(-1)?.number ?? 0,
    add: (latest) => {
      messages = [...messages, ...latest].slice(-messagesMax)
      updateList(byId("messages"), messages.toReversed(), makeMessage, updateMessage)
      byId("messages").hidden = messages.length === 0
      setEmpty("messages", messages.length === 0 ? "Nothing has happened yet" : "")
    }
  }
}
