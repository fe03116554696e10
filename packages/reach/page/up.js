// The page of tx3 up: asks it every two seconds how it is, while the page can be seen.
import { showAccess } from "./access.js"
import { byId, setText } from "./elements.js"
import * as format from "./format.js"
import { makeMessages, showConnections, showFacts, showServices } from "./panels.js"
import { onDone, request } from "./questions.js"
import { signIn, takeCode } from "./signIn.js"

/** Milliseconds between two questions, and until one counts as not answered. */
const every = 2000
const patience = 6000

const messages = makeMessages()

let connection = "connecting"
let status
/** When the last answer came: by this machine's clock, and to measure by. */
let heard
let heardMs

const connectionTexts = {
  connecting: "Connecting",
  live: "Live",
  reconnecting: "No connection to tx3 up, trying again",
  signedOut: "Not signed in"
}

/** What is not live must look so. */
const show = () => {
  const live = connection === "live"
  document.body.dataset.connection = connection
  setText(byId("connection"), connectionTexts[connection])
  byId("sign-in").hidden = connection !== "signedOut"
  byId("main").hidden = connection === "signedOut" && status === undefined
  const age = byId("age")
  age.hidden = live || heard === undefined
  setText(
    age,
    age.hidden
      ? ""
      : `as of ${format.clock(heard)}, ${format.duration((performance.now() - heardMs) / 1000)} ago. ` +
        "When it has started again, tx3 page prints a new link"
  )
  const running = status?.services.flatMap(({ connections }) => connections).length ?? 0
  document.title = live
    ? `${format.count(running)} ${running === 1 ? "connection" : "connections"} · tx3 up`
    : "Not live · tx3 up"
}

const showStatus = () => {
  showFacts(status)
  showServices(status)
  showConnections(status)
  showAccess(status)
}

let asked = 0

/** Asks how it is. Of several questions the latest counts. */
const refresh = async () => {
  const question = ++asked
  const signal = AbortSignal.timeout(patience)
  const [now, log] = await Promise.all([
    request("/status", undefined, signal),
    request(`/log?after=${messages.last()}`, undefined, signal)
  ])
  if (question !== asked) {
    return
  }
  if (now.answer !== undefined && log.answer !== undefined) {
    connection = "live"
    status = now.answer
    heard = Date.now()
    heardMs = performance.now()
    showStatus()
    messages.add(log.answer)
  } else {
    connection = [now.status, log.status].includes(401) ? "signedOut" : "reconnecting"
  }
  show()
}

let timer

/** Asks now, and then again and again. Without a session it waits for a link, and without a reader for one. */
const follow = async () => {
  clearTimeout(timer)
  await refresh()
  clearTimeout(timer)
  if (connection !== "signedOut" && !document.hidden) {
    timer = setTimeout(follow, every)
  }
}

/** Signs in where the page's address has a code in it, and begins. */
const enter = async () => {
  const code = takeCode()
  const refused = code === null ? "" : await signIn(code)
  setText(byId("refused"), refused)
  void follow()
}
void enter()
// a link that is opened in this tab changes the fragment only
addEventListener("hashchange", enter)
document.addEventListener("visibilitychange", () => document.hidden || connection === "signedOut" || void follow())
onDone(follow)
