// Shows an address as a QR code, for the camera of another machine.
import { encode } from "/uqr.js"
import { byId, setText } from "./elements.js"

const svg = "http://www.w3.org/2000/svg"

/** Modules of white around a code, as ISO 18004 has it. */
const border = 4

/** A code, as one path of squares. */
const drawn = (text) => {
  const { data, size } = encode(text, { border })
  const path = document.createElementNS(svg, "path")
  path.setAttribute(
    "d",
    data.flatMap((row, y) => row.flatMap((dark, x) => dark ? [`M${x} ${y}h1v1h-1z`] : [])).join("")
  )
  const image = document.createElementNS(svg, "svg")
  image.setAttribute("viewBox", `0 0 ${size} ${size}`)
  image.setAttribute("shape-rendering", "crispEdges")
  image.setAttribute("role", "img")
  image.setAttribute("aria-label", "The address as a QR code")
  image.append(path)
  return image
}

export const showQr = (title, address) => {
  setText(byId("qr-title"), title)
  setText(byId("qr-address"), address)
  byId("qr-code").replaceChildren(drawn(address))
  byId("qr").showModal()
}

byId("qr-close").addEventListener("click", () => byId("qr").close())
