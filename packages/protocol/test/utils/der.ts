/**
 * DER as a tree, to compare certificates field by field.
 */

export interface Element {
  readonly tag: number
  /** The contents in hex. */
  readonly value: string
  /** The elements inside a constructed one. */
  readonly children: ReadonlyArray<Element>
}

export const parse = (der: Buffer): ReadonlyArray<Element> => {
  const elements: Array<Element> = []
  for (let at = 0; at < der.length;) {
    const tag = der.readUInt8(at)
    const short = der.readUInt8(at + 1)
    const octets = short < 0x80 ? 0 : short - 0x80
    const length = octets === 0 ? short : der.readUIntBE(at + 2, octets)
    const contents = der.subarray(at + 2 + octets, at + 2 + octets + length)
    elements.push({ tag, value: contents.toString("hex"), children: (tag & 0x20) === 0 ? [] : parse(contents) })
    at += 2 + octets + length
  }
  return elements
}

export const text = (element: Element): string => Buffer.from(element.value, "hex").toString("utf8")
