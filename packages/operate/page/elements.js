// Elements, whose content is text always: nothing that the relay says is read as HTML.

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

/** Says why a list is empty, or nothing. */
export const setEmpty = (name, text) => {
  const note = document.querySelector(`[data-empty="${name}"]`)
  setText(note, text)
  note.hidden = text === ""
}
