// The operator's page: keeps what the relay tells, and shows it once a second.
import { showLogLevel } from "./actions.js"
import { makeCharts } from "./charts.js"
import { byId, setText } from "./elements.js"
import * as format from "./format.js"
import { makeHistory } from "./history.js"
import { makeLists } from "./lists.js"
import { makeEvents, showCluster, showLimits, showRelay, showTop, totals } from "./panels.js"
import { session, signIn, takeCode } from "./signIn.js"
import { follow } from "./stream.js"

const history = makeHistory()
const events = makeEvents()
const lists = makeLists()
export const { charts, draw, markStart, setTotals } = makeCharts(byId("charts"))

let connection = "connecting"
let status
/** How far the relay's clock is ahead of this one, and when the last message came: by this one, and to measure by. */
let ahead = 0
let heard
let heardMs

const order = () => document.querySelector("input[name=order]:checked").value

const connectionTexts = {
  connecting: "Connecting",
  live: "Live",
  reconnecting: "No connection to the relay, trying again",
  signedOut: "Not signed in"
}

/** The state of the relay and of the connection to it: what is not live must look so. */
const showConnection = () => {
  const live = connection === "live"
  const draining = status?.state === "draining"
  document.body.dataset.connection = connection
  setText(byId("connection"), live && draining ? "Live, draining: no new connections" : connectionTexts[connection])
  byId("sign-in").hidden = connection !== "signedOut"
  byId("main").hidden = connection === "signedOut" && status === undefined
  const state = byId("state")
  state.hidden = status === undefined
  state.className = `pill ${live ? status.state : "unknown"}`
  setText(state, status === undefined ? "" : live ? status.state : `was ${status.state}`)
  document.title = live
    ? `${draining ? "Draining, " : ""}${format.count(status.splices)} splices · tx3 relay`
    : "Not live · tx3 relay"
}

const showAge = () => {
  const age = byId("age")
  age.hidden = connection === "live" || heard === undefined
  setText(
    age,
    age.hidden ? "" : `as of ${format.clock(heard)}, ${format.duration((performance.now() - heardMs) / 1000)} ago`
  )
}

/** Time goes on when the relay is silent. */
const showCharts = () => {
  showAge()
  if (!document.hidden) {
    draw(history.columns(), Date.now() + ahead)
  }
}

const showAll = () => {
  showConnection()
  showRelay(status)
  showCluster(status)
  setTotals(totals(status))
  showLimits(status)
  showTop(status, order())
  showLogLevel(status.logLevel)
  events.show()
  if (!document.hidden) {
    lists.follow({ addresses: status.addresses, now: Date.now() + ahead })
  }
}

const onHistory = (message) => {
  history.replace(message.samples)
  events.replace(message.events)
}

const onNow = (message) => {
  if (status !== undefined && status.startedAt !== message.status.startedAt) {
    events.add([{ at: message.status.startedAt, kind: "restart", text: "The relay started again" }])
  }
  status = message.status
  heard = Date.now()
  heardMs = performance.now()
  ahead = message.sample.at - heard
  history.add(message.sample, status.startedAt)
  events.add(message.events)
  markStart(status.startedAt)
  showAll()
  showCharts()
}

const stream = follow("/events", {
  session,
  onEvent: (name, message) => {
    if (name === "history") {
      onHistory(message)
    } else if (name === "now") {
      connection = "live"
      onNow(message)
    }
  },
  onState: (state) => {
    if (state === "live") {
      return // when it says how it is
    }
    connection = state
    showConnection()
    showAge()
  }
})

/** Signs in where the page's address has a code in it, and follows the relay. */
const enter = async () => {
  const code = takeCode()
  const refused = code === null ? "" : await signIn(code)
  setText(byId("refused"), refused)
  stream.resume()
}
void enter()
// a link that is opened in this tab changes the fragment only
addEventListener("hashchange", enter)

document.querySelectorAll("input[name=order]").forEach((input) =>
  input.addEventListener("change", () => status && showTop(status, order()))
)
document.addEventListener("visibilitychange", showCharts)
setInterval(showCharts, 1000)
