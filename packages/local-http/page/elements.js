// Elements, whose content is text always: nothing that the server says is read as HTML.

export const byId = (id) => document.getElementById(id)

export const element = (name, attributes, ...children) => {
  const node = document.createElement(name)
  for (const [attribute, value] of Object.entries(attributes)) {
    node.setAttribute(attribute, value)
  }
  node.append(...children)
  return node
}

/** Touches the page only where something is new, so that selections last. */
export const setText = (node, text) => {
  if (node.textContent !== text) {
    node.textContent = text
  }
}

/** As many children as there are items, made once and then updated. */
export const updateList = (parent, items, make, update) => {
  while (parent.children.length > items.length) {
    parent.lastElementChild.remove()
  }
  items.forEach((item, index) => {
    update(parent.children[index] ?? parent.appendChild(make()), item)
  })
}

/**
 * A row for each item, the same row for the same key, so that a button stays in the row that it acts on. The focus goes along; if
 * its row is gone, it goes to the heading of the section.
 */
export const updateKeyed = (parent, items, key, make, update) => {
  const rows = new Map(Array.from(parent.children, (row) => [row.dataset.key, row]))
  const focused = parent.contains(document.activeElement) ? document.activeElement : undefined
  let next = parent.firstElementChild
  for (const item of items) {
    const name = String(key(item))
    const row = rows.get(name) ?? make(item)
    row.dataset.key = name
    rows.delete(name)
    update(row, item)
    if (row === next) {
      next = row.nextElementSibling
    } else {
      parent.insertBefore(row, next)
    }
  }
  for (const row of rows.values()) {
    row.remove()
  }
  if (focused !== undefined && focused !== document.activeElement) {
    const rest = focused.isConnected ? focused : parent.closest("section").querySelector("h2")
    rest.focus({ preventScroll: true })
  }
}

const makeFact = () => element("div", {}, element("dt", {}), element("dd", {}))

const updateFact = (fact, [name, value]) => {
  setText(fact.firstElementChild, name)
  setText(fact.lastElementChild, value)
}

/** Shows pairs of a name and a value in a `<dl>`. */
export const showPairs = (parent, pairs) => updateList(parent, pairs, makeFact, updateFact)

/**
 * A button that copies a text. Without https or loopback there is no clipboard; the text can be selected. Its last child, for screen
 * readers alone, is to say what it copies.
 */
export const copyButton = (text) => {
  const word = element("span", {}, "Copy")
  const copy = element("button", { type: "button", class: "copy" }, word, element("span", { class: "hidden" }))
  let timer
  copy.hidden = navigator.clipboard === undefined
  copy.addEventListener("click", async () => {
    const copied = await navigator.clipboard.writeText(text()).then(() => true, () => false)
    setText(word, copied ? "Copied" : "Select it")
    clearTimeout(timer)
    timer = setTimeout(() => setText(word, "Copy"), 2000)
  })
  return copy
}

/** Says why a list is empty, or nothing. */
export const setEmpty = (name, text) => {
  const note = document.querySelector(`[data-empty="${name}"]`)
  setText(note, text)
  note.hidden = text === ""
}
