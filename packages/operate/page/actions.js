// What an operator does: each action asks once, in a dialog, and says what came of it.
import { byId } from "./elements.js"
import { isDigest, short } from "./format.js"
import { ask } from "./questions.js"

const ended = ({ kicked }) => `${kicked} ${kicked === 1 ? "connection" : "connections"} ended.`

export const kickNode = (node) =>
  ask({
    title: `Kick node ${short(node)}?`,
    text: "Its registration and its splices end. It may register again at once.",
    yes: "Kick",
    path: "/kick/node",
    body: { node },
    done: (answer) => `Node ${short(node)} was kicked: ${ended(answer)}`
  })

export const kickSplice = ({ connection, node, source }) =>
  ask({
    title: `End the splice of ${source} with node ${short(node)}?`,
    text: "Both sides see a reset. The peer may connect again at once.",
    yes: "End",
    path: "/kick/splice",
    body: { connection },
    done: () => `The splice of ${source} with node ${short(node)} was ended.`
  })

const named = (who) => isDigest(who) ? `node ${short(who)}` : who

export const ban = (who) =>
  ask({
    title: `Ban ${named(who)}?`,
    text: isDigest(who)
      ? "Its registration and its splices end, and it cannot register before the relay restarts or the ban is lifted."
      : "All its connections end, and it cannot connect before the relay restarts or the ban is lifted. Whoever else has this " +
        "address is kept out, too.",
    yes: "Ban",
    path: "/ban",
    body: { who },
    done: (answer) => `Banned ${named(who)}: ${ended(answer)}`
  })

export const unban = (who) =>
  ask({
    title: `Lift the ban of ${named(who)}?`,
    text: "It may come back at once.",
    yes: "Lift the ban",
    path: "/unban",
    body: { who },
    done: () => `The ban of ${named(who)} is lifted.`
  })

const drain = () =>
  ask({
    title: "Drain the relay and stop it?",
    text:
      "It takes no new connections and ends all registrations. When the last splice has ended, the program stops. This " +
      "cannot be taken back.",
    yes: "Drain and stop",
    path: "/drain",
    body: {},
    done: ({ splices }) =>
      splices === 0
        ? "The relay stops: it has no splices."
        : `The relay drains: it stops when ${splices} ${splices === 1 ? "splice has" : "splices have"} ended.`
  })

const setLogLevel = () => {
  const level = byId("log-level").value
  ask({
    title: `Log at level ${level}?`,
    text: level === "trace" || level === "debug"
      ? "The log then has the addresses of peers, and which node each of them reached. It lasts until the relay restarts."
      : "It lasts until the relay restarts.",
    yes: "Set the level",
    path: "/log-level",
    body: { level },
    done: ({ level }) => `The log level is ${level} now.`
  })
}

byId("drain").addEventListener("click", drain)
byId("set-log-level").addEventListener("click", setLogLevel)

let shownLevel
/** Shows the level that holds, unless another one has been chosen and not set yet. */
export const showLogLevel = (label) => {
  byId("controls").hidden = false
  const names = { ALL: "trace", WARN: "warning", OFF: "none" }
  const level = names[label] ?? label.toLowerCase()
  if (level !== shownLevel) {
    shownLevel = level
    byId("log-level").value = level
  }
}
