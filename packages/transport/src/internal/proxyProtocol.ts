/**
 * The receiving side of the PROXY protocol, versions 1 and 2: which addresses are proxies, and how to parse the header at the
 * start of their connections. Pure, and for every thread. Source: HAProxy's doc/proxy-protocol.txt; its
 * sections are those named here.
 */
import * as Net from "node:net"

/** The proxies of a listener. It can be sent to another thread. */
export interface Proxies {
  readonly list: Net.BlockList
  /** Milliseconds from accept until a header must be complete. */
  readonly headerTimeoutMs: number
}

/** Addresses and CIDR ranges; throws for anything else. */
export const listOf = (ranges: ReadonlyArray<string>): Net.BlockList => {
  const list = new Net.BlockList()
  for (const range of ranges) {
    const [address, bits] = range.split(/\/(?=\d+$)/) as [string, string | undefined]
    if (bits === undefined) {
      list.addAddress(address, familyOf(address))
    } else {
      list.addSubnet(address, Number(bits), familyOf(address))
    }
  }
  return list
}

/** An IPv4-mapped address is that IPv4 address here. A link-local one is listed without its interface. */
export const isProxy = ({ list }: Proxies, remoteAddress: string): boolean => {
  const [address] = remoteAddress.split("%") as [string]
  return list.check(address, familyOf(address))
}

const familyOf = (address: string) => address.includes(":") ? "ipv6" : "ipv4"

export interface Header {
  /** Bytes of the whole header. The bytes behind them belong to the connection. */
  readonly length: number
  /** The source that the proxy names. Undefined: the proxy itself, or a source whose address it cannot tell. */
  readonly source: { readonly host: string; readonly port: number } | undefined
}

/**
 * The longest header there may be. It has room for both addresses and some 500 bytes of what a proxy says besides (TLS,
 * names, identifiers), and is one segment on any network, as every header shall be (2.2): RFC 9293 has 536 bytes as the
 * least that a segment holds by default.
 */
export const headerBytesMax = 536

/** The problems of a proxy's connection, each as the end of a sentence that begins with the proxy. */
export const hungUp = "hung up within its PROXY header"
export const late = (timeoutMs: number) => `sent no complete PROXY header within ${timeoutMs} ms`
const missing = "sent something else than a PROXY header"
const tooLong = "sent a PROXY header that is too long"
const broken = (what: string) => `sent a broken PROXY header: ${what}`

/**
 * The header that these bytes begin with; undefined if more of it has to come, or what is wrong with it. Bytes that no
 * header begins with are wrong at once.
 */
export const parse = (bytes: Uint8Array): Header | string | undefined => {
  const received = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  if (beginsLike(received, signature)) {
    return received.length < fixedBytes ? undefined : parseBinary(received)
  }
  return beginsLike(received, word) ? parseLine(received) : missing
}

const beginsLike = (bytes: Buffer, expected: Buffer) => {
  const length = Math.min(bytes.length, expected.length)
  return bytes.compare(expected, 0, length, 0, length) === 0
}

/** Version 1 (2.1): a line. Its longest form, CRLF included. */
const lineBytesMax = 107
const word = Buffer.from("PROXY ")
const line = /^PROXY (?:UNKNOWN(?: .*)?|TCP([46]) ([^ ]+) ([^ ]+) (\d+) (\d+))\r\n$/

const parseLine = (received: Buffer): Header | string | undefined => {
  const length = received.indexOf("\n") + 1
  if (length > lineBytesMax || length === 0 && received.length >= lineBytesMax) {
    return tooLong
  }
  if (length === 0) {
    return undefined
  }
  const matched = line.exec(received.toString("latin1", 0, length))
  if (matched === null) {
    return broken("not a line of version 1")
  }
  const [, family, source, destination, port, destinationPort] = matched
  if (family === undefined) {
    return { length, source: undefined }
  }
  if (![source!, destination!].every(family === "4" ? Net.isIPv4 : isPlainIPv6)) {
    return broken(`an address that is not IPv${family}`)
  }
  if (![port!, destinationPort!].every(isPort)) {
    return broken("a port that is none")
  }
  return { length, source: { host: canonical(source!), port: Number(port) } }
}

const isPlainIPv6 = (text: string) => Net.isIPv6(text) && !text.includes("%")
const isPort = (digits: string) => /^(0|[1-9]\d{0,4})$/.test(digits) && Number(digits) <= 0xffff

/** Version 2 (2.2): a signature, version and command, family and protocol, the length of the rest. */
const signature = Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1")
const fixedBytes = 16
const version2 = 2
const command = { local: 0, proxy: 1 }
/** TCP over IPv4 and over IPv6, by the byte of family and protocol. */
const addressBytesOf: ReadonlyMap<number, number> = new Map([[0x11, 4], [0x21, 16]])
const lastFamily = 3
const lastProtocol = 2

const parseBinary = (received: Buffer): Header | string | undefined => {
  const length = fixedBytes + received.readUInt16BE(14)
  const [versionAndCommand, familyAndProtocol] = [received[12]!, received[13]!]
  const addressBytes = addressBytesOf.get(familyAndProtocol)
  if (versionAndCommand >> 4 !== version2) {
    return broken(`version ${versionAndCommand >> 4}`)
  }
  if (length > headerBytesMax) {
    return tooLong
  }
  if ((versionAndCommand & 15) === command.local) {
    return received.length < length ? undefined : { length, source: undefined }
  }
  if ((versionAndCommand & 15) !== command.proxy) {
    return broken(`command ${versionAndCommand & 15}`)
  }
  if (familyAndProtocol >> 4 > lastFamily || (familyAndProtocol & 15) > lastProtocol) {
    return broken(`family and protocol 0x${familyAndProtocol.toString(16).padStart(2, "0")}`)
  }
  if (addressBytes !== undefined && length < fixedBytes + 2 * addressBytes + 4) {
    return broken("too short for its addresses")
  }
  if (received.length < length) {
    return undefined
  }
  // Clients that came by anything but TCP are defined, and to be treated like those that are unknown.
  return {
    length,
    source: addressBytes === undefined ? undefined : {
      host: textOf(received.subarray(fixedBytes, fixedBytes + addressBytes)),
      port: received.readUInt16BE(fixedBytes + 2 * addressBytes)
    }
  }
}

const textOf = (address: Buffer) =>
  address.length === 4
    ? address.join(".")
    : canonical(address.toString("hex").match(/.{4}/g)!.join(":"))

/** An address as the system writes it for a socket. */
const canonical = (address: string) => new Net.SocketAddress({ address, family: familyOf(address) }).address
