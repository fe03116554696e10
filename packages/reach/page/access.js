// Who may connect to what is exposed, and what changes it.
import { byId, element, setEmpty, setText, updateKeyed } from "./elements.js"
import { isDigest, short } from "./format.js"
import { ask } from "./questions.js"

/** A peer's name, or the beginning of its digest. */
export const nameOf = ({ name, peer }) => name ?? short(peer)

const called = (who) => isDigest(who) ? short(who) : who

/** The last part of a path, on Windows too. */
export const fileName = (path) => path.split(/[\\/]/).at(-1)

/** A change of the file has brought further changes of it into effect. */
const andMore = ({ started, stopped }) =>
  [["Started", started], ["Stopped", stopped]].filter(([, places]) => places.length > 0)
    .map(([what, places]) => ` ${what}: ${places.join(", ")}.`).join("")

export const deny = (peer) =>
  ask({
    title: `Deny ${nameOf(peer)} at ${peer.service}?`,
    text:
      `It is taken off the list in ${fileName(peer.file)}, its connections to ${peer.service} end, and it may not ` +
      "connect again.",
    yes: "Deny",
    path: "/deny",
    body: { service: peer.service, who: peer.peer },
    done: (answer) => `${nameOf(peer)} may not connect to ${peer.service} any longer.${andMore(answer)}`
  })

const allow = ({ allowFile, allowed, name: service }, who, file) =>
  ask({
    title: `Allow ${called(who)} at ${service}?`,
    text: allowed === null
      ? `Everyone who knows the address may connect to ${service} now. From then on only ${
        called(who)
      } may, all others ` +
        `lose their connections, and ${fileName(file)} says so.`
      : `It may connect to ${service} from then on. It is added to the list in ${fileName(allowFile ?? file)}.`,
    yes: "Allow",
    path: "/allow",
    body: { service, who },
    done: (answer) => {
      byId(`allow-${service}`).value = ""
      return `${called(who)} may connect to ${service} now.${andMore(answer)}`
    }
  })

const makePeer = () => {
  const act = element("button", { type: "button" }, "Remove")
  const row = element(
    "tr",
    {},
    element("th", { scope: "row" }),
    element("td", { class: "words" }),
    element("td", { class: "acts" }, act)
  )
  act.addEventListener("click", () => deny(row.peer))
  return row
}

const updatePeer = (row, { peer, service }) => {
  const [name, file, acts] = row.children
  row.peer = { ...peer, service }
  setText(name, peer.name ?? peer.peer)
  name.title = peer.peer
  setText(file, fileName(peer.file))
  file.title = peer.file
  acts.firstElementChild.setAttribute("aria-label", `Remove ${nameOf(peer)} from the list of ${service}`)
}

const makeAccess = ({ name }) => {
  const input = element("input", {
    id: `allow-${name}`,
    name: "who",
    required: "",
    maxlength: "64",
    autocomplete: "off",
    autocapitalize: "off",
    spellcheck: "false"
  })
  const form = element(
    "form",
    { class: "allow" },
    element("label", { for: input.id }, "Name or digest"),
    input,
    element("button", { "aria-label": `Allow at ${name}` }, "Allow")
  )
  const row = element(
    "li",
    {},
    element("div", { class: "line" }, element("h3", {}, name), element("p", { class: "who" })),
    element(
      "table",
      { class: "few" },
      element(
        "thead",
        { class: "hidden" },
        element(
          "tr",
          {},
          element("th", { scope: "col" }, "Peer"),
          element("th", { scope: "col" }, "File"),
          element("th", { scope: "col" }, "Actions")
        )
      ),
      element("tbody", {})
    ),
    form
  )
  form.addEventListener("submit", (event) => {
    event.preventDefault()
    const who = input.value.trim()
    if (who !== "") {
      allow(row.service, who, row.file)
    }
  })
  return row
}

const updateAccess = (row, service, file) => {
  const [line, table] = row.children
  const who = line.lastElementChild
  const { allowed, name } = service
  row.service = service
  row.file = file
  who.classList.toggle("open", allowed === null)
  setText(
    who,
    allowed === null
      ? "▲ Everyone who knows the address. Allow a peer, and no other can connect"
      : allowed.length === 0
      ? "No one"
      : ""
  )
  const peers = allowed ?? []
  table.hidden = peers.length === 0
  updateKeyed(
    table.lastElementChild,
    peers,
    ({ peer }) => peer,
    makePeer,
    (row, peer) => updatePeer(row, { peer, service: name })
  )
}

export const showAccess = ({ file, services }) => {
  const exposed = services.filter(({ kind }) => kind === "expose")
  updateKeyed(
    byId("access"),
    exposed,
    ({ name }) => name,
    makeAccess,
    (row, service) => updateAccess(row, service, file)
  )
  setEmpty("access", exposed.length === 0 ? "Nothing is exposed" : "")
}
