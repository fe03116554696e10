// Nodes, splices and bans. The relay keeps the lists and gives 20 rows at a time of what is asked for.
import { ban, kickNode, kickSplice, unban } from "./actions.js"
import { byId, copyButton, element, setEmpty, setText, updateKeyed } from "./elements.js"
import * as format from "./format.js"
import { onDone, request } from "./questions.js"

/** Milliseconds between two looks at a list. */
const every = 2000

/** Rows that the relay gives at a time. */
const rowsMax = 20

const button = (text) => element("button", { type: "button" }, text)

/** A cell that says on a narrow page, where columns are lines, what it has. */
const cell = (label, ...children) => element("td", { "data-label": label }, ...children)

const wordsCell = (label, ...children) => element("td", { class: "words", "data-label": label }, ...children)

const age = (ms, now) => format.duration((now - ms) / 1000)

const makeNode = () => {
  const name = element("code", {})
  const row = element(
    "tr",
    {},
    element("th", { scope: "row" }, name, copyButton(() => row.address)),
    wordsCell("From", element("span", { class: "source" }), element("span", { class: "note" })),
    cell("For"),
    cell("Splices"),
    cell("15 min"),
    cell("Peers", element("span", {}), element("div", { class: "bar", role: "meter" }, element("div", {}))),
    element("td", { class: "acts" }, button("Kick"), button("Ban"))
  )
  const [kick, toBan] = row.lastElementChild.children
  kick.addEventListener("click", () => kickNode(row.node.node))
  toBan.addEventListener("click", () => ban(row.node.node))
  return row
}

const updateNode = (row, node, { addresses, list, now }) => {
  const [name, source, since, splices, bytes, peers, acts] = row.children
  row.node = node
  // a node's address is the relay's with the node's digest in place of the relay's
  row.address = addresses.length === 0 ? node.node : addresses[0].replace(/[^/]*$/, node.node)
  setText(name.firstElementChild, format.short(node.node))
  name.firstElementChild.title = node.node
  setText(name.lastElementChild.lastElementChild, ` the address of node ${format.short(node.node)}`)
  const [address, note] = source.children
  setText(address, node.source)
  setText(
    note,
    node.nodesOfSource > 1
      ? `${format.count(node.nodesOfSource)} of ${format.count(list.nodesOfSourceMax)} nodes here`
      : ""
  )
  setText(since, age(node.since, now))
  since.title = format.date(node.since)
  setText(splices, format.count(node.splices))
  setText(bytes, format.bytes(node.bytes))
  const [text, bar] = peers.children
  const share = Math.min(1, node.peers / list.peersMax)
  setText(text, `${format.count(node.peers)} of ${format.count(list.peersMax)}`)
  bar.setAttribute("aria-label", `Peers of node ${format.short(node.node)}`)
  bar.setAttribute("aria-valuemin", "0")
  bar.setAttribute("aria-valuemax", "100")
  bar.setAttribute("aria-valuenow", String(Math.floor(100 * share)))
  bar.setAttribute("aria-valuetext", text.textContent)
  bar.className = `bar ${share >= 0.9 ? "full" : share >= 0.75 ? "near" : ""}`
  bar.firstElementChild.style.width = node.peers === 0 ? "0" : `max(2px, ${100 * share}%)`
  const [kick, toBan] = acts.children
  kick.setAttribute("aria-label", `Kick node ${format.short(node.node)}`)
  toBan.setAttribute("aria-label", `Ban node ${format.short(node.node)}`)
}

const makeSplice = () => {
  const row = element(
    "tr",
    {},
    element("th", { scope: "row" }),
    wordsCell("Node", element("code", {})),
    wordsCell("Node’s address"),
    cell("For"),
    cell("From peer"),
    cell("From node"),
    element("td", { class: "acts" }, button("End"))
  )
  row.lastElementChild.firstElementChild.addEventListener("click", () => kickSplice(row.splice))
  return row
}

const updateSplice = (row, splice, { now }) => {
  const [source, node, nodeSource, since, fromPeer, fromNode, acts] = row.children
  row.splice = splice
  setText(source, splice.source)
  setText(node.firstElementChild, format.short(splice.node))
  node.firstElementChild.title = splice.node
  setText(nodeSource, splice.nodeSource)
  setText(since, age(splice.since, now))
  since.title = format.date(splice.since)
  setText(fromPeer, format.bytes(splice.bytesFromPeer))
  setText(fromNode, format.bytes(splice.bytesFromNode))
  acts.firstElementChild.setAttribute(
    "aria-label",
    `End the splice of ${splice.source} with node ${format.short(splice.node)}`
  )
}

/** One of the lists: what is asked for, and what is shown. */
const makeList = (name, { empty, key, make, update }) => {
  const search = byId(`${name}-search`)
  const sort = byId(`${name}-sort`)
  const [before, found, after] = ["before", "found", "after"].map((part) => byId(`${name}-${part}`))
  let offset = 0
  let asked = 0
  let askedAt = -Infinity
  let list
  let context

  const show = () => {
    const { found: matching, offset: from, rows, total } = list
    offset = from
    updateKeyed(byId(name), rows, key, make, (row, item) => update(row, item, { ...context, list }))
    byId(name).parentElement.hidden = rows.length === 0
    setEmpty(name, total === 0 ? empty : matching === 0 ? `None of ${format.count(total)} matches` : "")
    const range = rows.length === matching
      ? format.count(matching)
      : `${format.count(from + 1)} to ${format.count(from + rows.length)} of ${format.count(matching)}`
    setText(found, matching < total ? `${range} found among ${format.count(total)}` : range)
    const pager = found.parentElement
    pager.hidden = rows.length === 0
    before.hidden = after.hidden = rows.length === matching
    before.disabled = from === 0
    after.disabled = from + rows.length >= matching
  }

  /** Of several questions the latest counts. */
  const refresh = async () => {
    const question = ++asked
    askedAt = performance.now()
    const { answer } = await request(
      `/page/${name}?${new URLSearchParams({ search: search.value, sort: sort.value, offset: String(offset) })}`
    )
    // what is wrong with the connection the page says anyway
    if (answer !== undefined && question === asked) {
      list = answer
      show()
    }
  }

  const from = (next) => () => {
    offset = Math.max(0, next())
    void refresh()
  }
  search.addEventListener("input", from(() => 0))
  sort.addEventListener("change", from(() => 0))
  before.addEventListener("click", from(() => offset - rowsMax))
  after.addEventListener("click", from(() => offset + rowsMax))

  return {
    /** The relay said how it is: time for a look at the list, if it has been a while. */
    follow: (now) => {
      context = now
      if (performance.now() - askedAt >= every) {
        void refresh()
      }
    },
    refresh
  }
}

const makeBan = () => {
  const row = element(
    "tr",
    {},
    element("th", { scope: "row" }),
    cell("For"),
    element("td", { class: "acts" }, button("Lift"))
  )
  row.lastElementChild.firstElementChild.addEventListener("click", () => unban(row.who))
  return row
}

const makeBans = () => {
  let askedAt = -Infinity
  const refresh = async () => {
    askedAt = performance.now()
    const { answer } = await request("/bans")
    if (answer !== undefined) {
      updateKeyed(byId("bans"), answer, ({ who }) => who, makeBan, (row, { since, who }) => {
        const [name, time, acts] = row.children
        row.who = who
        setText(name, who)
        setText(time, age(since, Date.now()))
        acts.firstElementChild.setAttribute("aria-label", `Lift the ban of ${who}`)
      })
      byId("bans").parentElement.hidden = answer.length === 0
      setEmpty("bans", answer.length === 0 ? "Nobody is banned here; access in the relay’s file is another matter" : "")
    }
  }
  return {
    follow: () => {
      if (performance.now() - askedAt >= every) {
        void refresh()
      }
    },
    refresh
  }
}

/** All of them. `follow` is told of the relay once a second. */
export const makeLists = () => {
  const lists = [
    makeList("nodes", { empty: "No node is registered", key: ({ node }) => node, make: makeNode, update: updateNode }),
    makeList("splices", {
      empty: "No splice is running",
      key: ({ connection }) => connection,
      make: makeSplice,
      update: updateSplice
    }),
    makeBans()
  ]
  onDone(() => lists.forEach(({ refresh }) => void refresh()))
  return { follow: (context) => lists.forEach((list) => list.follow(context)) }
}
