/** Headers of the PROXY protocol, as a proxy writes them. */
import * as Net from "node:net"

export interface Ends {
  readonly source: string
  readonly destination: string
  readonly sourcePort: number
  readonly destinationPort: number
}

export const line = (text: string) => Buffer.from(`${text}\r\n`, "latin1")

/** Version 1. */
export const lineOf = ({ destination, destinationPort, source, sourcePort }: Ends) =>
  line(`PROXY TCP${Net.isIPv6(source) ? 6 : 4} ${source} ${destination} ${sourcePort} ${destinationPort}`)

/** Version 2, of whatever is given. */
export const binary = (versionAndCommand: number, familyAndProtocol: number, rest: Uint8Array, length = rest.length) =>
  Buffer.concat([
    Buffer.from("0d0a0d0a000d0a515549540a", "hex"),
    Uint8Array.of(versionAndCommand, familyAndProtocol, length >> 8, length & 255),
    rest
  ])

/** Version 2. */
export const binaryOf = (ends: Ends, more: Uint8Array = new Uint8Array()) =>
  binary(0x21, Net.isIPv6(ends.source) ? 0x21 : 0x11, Buffer.concat([addresses(ends), more]))

/** What follows the length. */
export const addresses = ({ destination, destinationPort, source, sourcePort }: Ends) => {
  const ports = Buffer.alloc(4)
  ports.writeUInt16BE(sourcePort)
  ports.writeUInt16BE(destinationPort, 2)
  return Buffer.concat([bytesOf(source), bytesOf(destination), ports])
}

const bytesOf = (address: string) => {
  if (Net.isIPv4(address)) {
    return Buffer.from(address.split(".").map(Number))
  }
  const [before, after] = address.split("::").map((half) => half.split(":").filter((group) => group !== ""))
  const zeros = 8 - before!.length - (after?.length ?? 0)
  const groups = [...before!, ...Array.from({ length: zeros }, () => "0"), ...after ?? []]
  return Buffer.from(groups.map((group) => group.padStart(4, "0")).join(""), "hex")
}
